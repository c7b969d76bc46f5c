# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""small_norms.py DIR - overwrite the delta-net norms of a toy with values below 0.5, many of them with w - 1 inexact in
their own dtype.  Standard library only."""
import json
import math
import struct
import sys


def bits(x, dtype):
    n = struct.unpack("<I", struct.pack("<f", x))[0]
    return struct.pack("<I", n) if dtype == "F32" else struct.pack("<H", n >> 16)


def main():
    path = sys.argv[1] + "/model.safetensors"
    with open(path, "r+b") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(size))
        n = 0
        for name, t in header.items():
            if not name.endswith("linear_attn.norm.weight"):
                continue
            for i in range(t["shape"][0]):
                v = (0.4 / (1 + i % 7) + 0.003 * math.sin(i + n)) * (-1 if i % 5 == 4 else 1)
                f.seek(8 + size + t["data_offsets"][0] + i * (4 if t["dtype"] == "F32" else 2))
                f.write(bits(v, t["dtype"]))
            n += 1
    print(n, "norms rewritten")
    sys.exit(n == 0)


main()
