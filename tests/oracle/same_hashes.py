# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""same_hashes.py EXPECTED GOT [--tensors]

Compare two lists of tensors: keys, dtypes, shapes and sha256, and the keys of the bytes items.  Each is the JSON of
`bridge inspect --json --hash` or of the oracle's load_check.py ("__objects__" names the bytes items).
--tensors: EXPECTED has no bytes items."""
import json
import sys


def read(path):
    with open(path) as f:
        j = json.load(f)
    if "tensors" in j:
        return j["tensors"], set(j["objects"])
    return {k: v for k, v in j.items() if not k.startswith("__")}, set(j.get("__objects__", ()))


def main():
    (want, want_objects), (got, got_objects) = read(sys.argv[1]), read(sys.argv[2])
    if "--tensors" in sys.argv[3:]:
        want_objects = got_objects
    bad = [f"missing {k}" for k in sorted(want.keys() - got.keys())]
    bad += [f"unexpected {k}" for k in sorted(got.keys() - want.keys())]
    for k in sorted(want.keys() & got.keys()):
        bad += [f"{k}: {f} is {got[k][f]}, expected {want[k][f]}" for f in ("dtype", "shape", "sha256")
                if want[k][f] != got[k][f]]
    bad += [f"missing object {k}" for k in sorted(want_objects - got_objects)]
    bad += [f"unexpected object {k}" for k in sorted(got_objects - want_objects)]
    print("\n".join(bad[:20] + [f"{len(want)} tensors, {len(want_objects)} objects, {len(bad)} differences"]))
    sys.exit(bool(bad) or not want)


main()
