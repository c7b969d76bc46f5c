"""logits.py MODEL [GOLDENS]

Load MODEL with transformers.  Every tensor that the model has must come from the files (none left random, none
misshapen).  With GOLDENS, a directory with golden.json and golden.safetensors, its logits in float32 must be those of
the goldens, within the tolerances of the fixtures' README."""
import json
import os
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = {"qwen3_next": 3e-4}


def main():
    path, goldens = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    torch.set_num_threads(1)
    model, info = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    model.eval()
    missing = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
    print("missing or misshapen:", missing)
    if missing:
        sys.exit(1)
    config = json.load(open(os.path.join(path, "config.json")))
    tolerance = TOLERANCE.get(config["model_type"], 1e-4)
    if goldens:
        ids = json.load(open(os.path.join(goldens, "golden.json")))
        want = load_file(os.path.join(goldens, "golden.safetensors"))
        cases = [(k, ids["input_ids_" + k[len("logits_"):]], v) for k, v in want.items() if k.startswith("logits_")]
    else:
        cases = [("any", list(range(1, 14)), None)]
    worst = 0.0
    for name, tokens, v in cases:
        with torch.no_grad():
            got = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].float()
        if not torch.isfinite(got).all():
            print(name, "not finite")
            sys.exit(1)
        if v is not None:
            d = (got - v.float()).abs().max().item()
            print(name, "differs by", d)
            worst = max(worst, d)
    print("worst", worst, "tolerance", tolerance)
    sys.exit(worst > tolerance)


main()
