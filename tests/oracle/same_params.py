# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""same_params.py PARAMS INSPECT ITERATION

PARAMS: mb_load_params.py's JSON, the parameters of a model that real Megatron built from run_config.yaml and filled
from the checkpoint.  INSPECT: `bridge inspect --json --hash` of that checkpoint, the directory ITERATION.  Every parameter must have the bytes
that the checkpoint holds under its key, and every key must have filled one.  Needs per-layer keys.

A parameter and its key differ in three ways:
  experts                 parameters are one per expert, "...linear_fc1.weight3"; the key is a stack, "...experts.
                          experts.linear_fc1.weight", whose slice 3 is hashed here from the files by DCP
  gated delta net         in_proj.weight is one parameter, stored in parts: in_proj.weight.query ..., in this order;
                          conv1d.weight likewise
  output layer            tied: neither a key nor a parameter of its own"""
import hashlib
import io
import json
import os
import re
import sys

import torch
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

PARTS = {"in_proj.weight": ["query", "key", "value", "z", "beta", "alpha"], "conv1d.weight": ["query", "key", "value"]}


def tensors_of(directory):
    reader = FileSystemReader(directory)
    state = {}
    for k, v in reader.read_metadata().state_dict_metadata.items():
        state[k] = (torch.zeros(v.size, dtype=v.properties.dtype) if isinstance(v, TensorStorageMetadata)
                    else io.BytesIO())
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    load(state, storage_reader=reader, planner=planner, no_dist=True)
    return {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}


def sha(t):
    return hashlib.sha256(t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def keys_of(param):
    """The keys that hold a parameter, and the index of its slice or None."""
    expert = re.fullmatch(r"(.*\.mlp\.experts)\.(linear_fc[12]\.weight)(\d+)", param)
    if expert:
        return [f"{expert[1]}.experts.{expert[2]}"], int(expert[3])
    for module, parts in PARTS.items():
        if param.endswith("self_attention." + module):
            return [f"{param}.{p}" for p in parts], None
    return [param], None


def main():
    params, inspect = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))["tensors"]
    stored = tensors_of(sys.argv[3])
    bad = [f"{k}: bridge's hash is not that of DCP" for k in stored if sha(stored[k]) != inspect[k]["sha256"]]
    used = set()
    for name, p in params.items():
        keys, index = keys_of(name.removeprefix("module."))
        if any(k not in stored for k in keys):
            bad.append(f"{name}: no key {keys}")
            continue
        used.update(keys)
        t = torch.cat([stored[k] for k in keys]) if len(keys) > 1 else stored[keys[0]]
        t = t if index is None else t[index]
        t = t.to(getattr(torch, p["dtype"]))  # a router may be float32 in the model
        if list(t.shape) != p["shape"] or sha(t) != p["sha256"]:
            bad.append(f"{name}: not the bytes of {keys}")
    bad += [f"{k}: fills no parameter" for k in sorted(stored.keys() - used)]
    print("\n".join(bad[:20] + [f"{len(params)} parameters, {len(stored)} keys, {len(bad)} differences"]))
    sys.exit(bool(bad) or not params)


main()
