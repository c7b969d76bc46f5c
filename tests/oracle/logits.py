# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""logits.py MODEL [GOLDENS | LIKE]

Load MODEL with transformers.  Every tensor that the model has must come from the files: none left random, none
misshapen.  With GOLDENS, a directory with golden.json, its logits in float32 must be the golden ones within the
tolerances of the fixtures' README; with LIKE, another model directory, they must be that model's, exactly."""
import json
import os
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = {"qwen3_next": 3e-4}


def load(path):
    model, info = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, local_files_only=True)
    missing = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
    if missing:
        sys.exit(f"{path}: missing or misshapen: {missing}")
    return model.eval()


def logits(model, tokens):
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].float()


def expectations(directory, model_type):
    """(name, tokens, logits) of each case, and the tolerance."""
    if not os.path.exists(os.path.join(directory, "golden.json")):
        tokens = list(range(1, 33))
        return [("like", tokens, logits(load(directory), tokens))], 0.0
    golden = json.load(open(os.path.join(directory, "golden.json")))
    want = load_file(os.path.join(directory, "golden.safetensors"))
    cases = [(k, golden[k.replace("logits_", "input_ids_")], v) for k, v in want.items() if k.startswith("logits_")]
    return cases, TOLERANCE.get(model_type, 1e-4)


def main():
    torch.set_num_threads(1)
    model = load(sys.argv[1])
    if len(sys.argv) < 3:
        sys.exit(not torch.isfinite(logits(model, list(range(1, 33)))).all())
    cases, tolerance = expectations(sys.argv[2], model.config.model_type)
    worst = 0.0
    for name, tokens, want in cases:
        d = (logits(model, tokens) - want.float()).abs().max().item()
        print(name, "differs by", d)
        worst = max(worst, d if d == d else float("inf"))
    print("worst", worst, "tolerance", tolerance)
    sys.exit(worst > tolerance or not cases)


main()
