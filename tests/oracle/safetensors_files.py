#!/usr/bin/env python3
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""safetensors_files.py BRIDGE - valid and invalid safetensors files, judged by the safetensors library.

Each file is given to `bridge inspect FILE --json` and to safetensors: both list the same tensors, or both refuse it.  STRICTER names
the files that bridge alone refuses, on purpose.
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import safetensors
from safetensors import safe_open

BITS = {"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
        "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
# inspect prints torch's names
NAMES = {"bool": "BOOL", "complex64": "C64", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
         "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float4_e2m1fn_x2": "F4",
         **{f"{long}{n}": f"{short}{n}" for long, short in (("uint", "U"), ("int", "I"), ("float", "F")) for n in (8, 16, 32, 64)}}
LIMIT = 100_000_000


def entry(dtype="F32", shape=(2,), offsets=None):
    n = 1
    for d in shape:
        n *= d
    return {"dtype": dtype, "shape": list(shape), "data_offsets": offsets or [0, n * BITS.get(dtype, 32) // 8]}


def packed(header, data, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensors(*entries, **more):
    """Entries one behind the other."""
    out, at = dict(more), 0
    for i, e in enumerate(entries):
        size = e["data_offsets"][1]
        out[f"t{i}"] = {**e, "data_offsets": [at, at + size]}
        at += size
    return packed(out, bytes(at))


def one(**changes):
    e = {**entry(), **changes}
    return packed({"a": {k: v for k, v in e.items() if v is not ...}}, bytes(8))


CASES = {f"dtype_{d}": tensors(entry(d, (4, 8))) for d in BITS}
CASES.update({
    "empty": packed({}, b""), "only_metadata": packed({"__metadata__": {"format": "pt"}}, b""), "no_bytes": b"", "seven_bytes": bytes(7), "eight_bytes": bytes(8),
    "scalar": tensors(entry("F32", ())), "no_elements": tensors(entry("F32", (0, 3))), "empty_between": tensors(entry(), entry("F32", (0,)), entry()),
    "several": tensors(entry("F16", (3, 5)), entry("I64", (2,)), entry("U8", (7,)), entry("BOOL", (1, 1, 1))),
    "metadata": tensors(entry(), __metadata__={"format": "pt", "x": "é"}), "empty_metadata": tensors(entry(), __metadata__={}),
    "metadata_number": tensors(entry(), __metadata__={"x": 5}), "metadata_list": tensors(entry(), __metadata__=[]), "metadata_nested": tensors(entry(), __metadata__={"x": {}}),
    "trailing_blanks": packed(json.dumps({"a": entry()}).encode() + b"    ", bytes(8)), "leading_blank": packed(b" " + json.dumps({"a": entry()}).encode(), bytes(8)),
    "trailing_newline": packed(json.dumps({"a": entry()}).encode() + b"\n", bytes(8)), "trailing_text": packed(json.dumps({"a": entry()}).encode() + b"x", bytes(8)),
    "trailing_nul": packed(json.dumps({"a": entry()}).encode() + b"\0", bytes(8)),
    "unordered": packed({"b": entry("F32", (1,), [4, 8]), "a": entry("F32", (1,), [0, 4])}, bytes(8)),
    "overlap": packed({"b": entry("F32", (1,), [0, 4]), "a": entry("F32", (1,), [0, 4])}, bytes(4)),
    "partial_overlap": packed({"b": entry("F32", (2,), [0, 8]), "a": entry("F32", (2,), [4, 12])}, bytes(12)),
    "hole": packed({"b": entry("F32", (1,), [0, 4]), "a": entry("F32", (1,), [8, 12])}, bytes(12)), "hole_first": packed({"a": entry("F32", (1,), [4, 8])}, bytes(8)),
    "too_short": packed({"a": entry()}, bytes(7)), "too_long": packed({"a": entry()}, bytes(9)), "no_data": packed({"a": entry()}, b""),
    "backwards": one(data_offsets=[8, 0]), "negative": one(data_offsets=[-8, 0]), "one_offset": one(data_offsets=[0]), "three_offsets": one(data_offsets=[0, 8, 8]),
    "offsets_text": one(data_offsets="0,8"), "offsets_float": one(data_offsets=[0.0, 8.0]), "offsets_huge": one(data_offsets=[0, 2**64 - 1]),
    "offsets_beyond": one(data_offsets=[0, 2**64]), "shape_wrong": one(shape=[3]), "shape_negative": one(shape=[-2]), "shape_text": one(shape="2"),
    "shape_float": one(shape=[2.0]), "shape_null": one(shape=None), "shape_overflow": one(shape=[2**32, 2**32, 2**32]), "shape_huge": one(shape=[2**63, 2]),
    "no_dtype": one(dtype=...), "no_shape": one(shape=...), "no_offsets": one(data_offsets=...), "unknown_dtype": one(dtype="F128"), "dtype_case": one(dtype="f32"),
    "dtype_null": one(dtype=None), "dtype_number": one(dtype=5), "more_members": one(extra=1), "tensor_list": packed({"a": []}, b""), "tensor_null": packed({"a": None}, b""),
    "header_list": packed(b"[]", b""), "header_number": packed(b"1", b""), "header_text": packed(b'"a"', b""), "header_nothing": packed(b"", b""), "header_blank": packed(b" ", b""),
    "header_cut": packed(b'{"a": {', b""), "header_utf8": packed(b'{"\xff": 1}', b""), "header_bom": packed(b"\xef\xbb\xbf{}", b""),
    "length_beyond": packed({"a": entry()}, bytes(8), 10**6), "length_max": packed({"a": entry()}, bytes(8), 2**64 - 1), "length_minus": packed({"a": entry()}, bytes(8), 2**63),
    "length_short": packed({"a": entry()}, bytes(8), 5), "name_empty": packed({"": entry()}, bytes(8)), "name_unicode": packed({"层.é": entry()}, bytes(8)),
    "name_escapes": packed({"a\n\"\\": entry()}, bytes(8)), "twice": packed(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
                                                                             bytes(8)),
    "half_byte": one(dtype="F4", shape=[3], data_offsets=[0, 1]), "half_bytes": tensors(entry("F4", (2,)), entry("F4", (6,))),
    "metadata_null": packed({"__metadata__": None, "a": entry()}, bytes(8)), "surrogate": packed(b'{"\\ud800": {"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)),
    "deep": packed(b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", b""),
    "limit": packed(b"{}" + b" " * (LIMIT - 2), b""), "beyond_limit": packed(b"{}" + b" " * (LIMIT - 1), b""),
})
# What bridge alone refuses: a member that nobody knows may change what bytes mean, and one of two tensors of a name is lost.
STRICTER = {"more_members", "twice", "metadata_null", "surrogate", "dtype_F6_E2M3", "dtype_F6_E3M2"}


def theirs(path):
    try:
        with safe_open(path, framework="numpy") as f:
            return {k: (str(f.get_slice(k).get_dtype()), list(f.get_slice(k).get_shape())) for k in f.keys()}, ""
    except Exception as e:  # any failure is a refusal
        return None, f"{type(e).__name__}: {e}"


def ours(program, path):
    run = subprocess.run([program, "inspect", str(path), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if run.returncode < 0:
        sys.exit(f"bridge died of signal {-run.returncode} on {path}")
    if run.returncode:
        return None, run.stderr.decode().strip()
    return {k: (NAMES[t["dtype"]], t["shape"]) for k, t in json.loads(run.stdout)["tensors"].items()}, ""


def main():
    wrong = 0
    counts = {"listed alike": 0, "both refuse": 0, "stricter": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "x.safetensors"
        for name, data in CASES.items():
            path.write_bytes(data)
            want, why = theirs(path)
            got, message = ours(sys.argv[1], path)
            if want == got:
                counts["listed alike" if want is not None else "both refuse"] += 1
            elif got is None and name in STRICTER:
                counts["stricter"] += 1
            else:
                wrong += 1
                print(f"{name}: safetensors {want} {why}\n  bridge {got} {message}")
    print(f"safetensors {safetensors.__version__}, {len(CASES)} files: " + ", ".join(f"{n} {what}" for what, n in counts.items()) + f", {wrong} wrong")
    sys.exit(wrong > 0)


main()
