# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""same_tensors.py A B [--close PATTERN TOLERANCE]

Two Hugging Face directories hold the same tensors: names, dtypes, shapes and bytes.  FP8 tensors of A count as the
bfloat16 values whose sha256 A's golden.json lists.
--close: tensors whose name contains PATTERN may differ by TOLERANCE."""
import argparse
import glob
import hashlib
import json
import os
import sys

import torch
from safetensors import safe_open


def read(d):
    out = {}
    for path in sorted(glob.glob(os.path.join(d, "model*.safetensors"))):
        with safe_open(path, "pt") as f:
            out.update({k: f.get_tensor(k) for k in f.keys()})
    return out


def raw(t):
    return t.contiguous().reshape(-1).view(torch.uint8)


def difference(a, b, close):
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
    if torch.equal(raw(a), raw(b)):
        return None
    d = (a.double() - b.double()).abs().max().item()
    return None if close is not None and d <= close else f"differ by {d}"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("a")
    p.add_argument("b")
    p.add_argument("--close", nargs=2)
    o = p.parse_args()
    a, b, bad = read(o.a), read(o.b), []
    golden = os.path.join(o.a, "golden.json")
    fp8 = json.load(open(golden)).get("fp8", {}).get("dequant_sha256", {}) if os.path.exists(golden) else {}
    want = {k for k in a if not k.endswith("_scale_inv")}
    for k in sorted(want | b.keys()):
        if k not in b or k not in want:
            bad.append(f"{k}: only in {'A' if k in want else 'B'}")
        elif a[k].dtype == torch.float8_e4m3fn:
            if b[k].dtype != torch.bfloat16 or hashlib.sha256(raw(b[k]).numpy().tobytes()).hexdigest() != fp8[k]:
                bad.append(f"{k}: not the golden bfloat16 values")
        else:
            close = float(o.close[1]) if o.close and o.close[0] in k else None
            d = difference(a[k], b[k], close)
            bad += [f"{k}: {d}"] if d else []
    print("\n".join(bad[:20] + [f"{len(want)} tensors, {len(bad)} differences"]))
    sys.exit(bool(bad) or not want)


main()
