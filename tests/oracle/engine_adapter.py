# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""engine_adapter.py BRIDGE WORK

Adapters that peft makes on toys of two families: ranks, alphas, rank-stabilised scaling, DoRA, few and many targets.
Logits beside the weights and merged, and gradients of the adapter, must be those of peft on transformers."""
import os
import sys

import torch
from peft import LoraConfig, get_peft_model

from engine_lib import (bridge, check, check_grads, check_greedy, engine, finish, gradients, load, logits, mean_loss,
                        reweigh, tokens, worst)

program, work = sys.argv[1:3]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# arch, dtype, name, LoraConfig
CASES = [
    ("qwen3", "float32", "r8", dict(r=8, lora_alpha=32, target_modules=ALL)),
    ("qwen3", "float32", "rslora_one", dict(r=1, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "down_proj"])),
    ("qwen3", "float32", "dora", dict(r=12, lora_alpha=12, use_dora=True, target_modules=ALL)),
    ("qwen2", "bfloat16", "rslora", dict(r=16, lora_alpha=16, use_rslora=True, target_modules=ALL)),
    ("qwen2", "bfloat16", "dora_rs", dict(r=3, lora_alpha=5, use_dora=True, use_rslora=True, target_modules=ALL[:4])),
]
KEYS = "hidden_size=192 intermediate_size=320 num_hidden_layers=3 num_attention_heads=6 num_key_value_heads=2 vocab_size=512"


def plain(name):
    return name.replace(".default", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def make(base, keys, path, seed):
    """An adapter with no part zero, written by peft."""
    torch.manual_seed(seed)
    model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **keys))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape) * 0.1)
            elif "magnitude" in name:
                p.mul_(1 + 0.1 * torch.randn(p.shape))
    model.save_pretrained(path)
    return model.eval()


def main():
    os.makedirs(work, exist_ok=True)
    os.environ["TMPDIR"] = work
    for arch, dtype in {c[:2] for c in CASES}:
        bridge(program, "toy", "--arch", arch, "--dtype", dtype, "--output-dir", f"{work}/{arch}", "--set", *KEYS.split())
        reweigh(f"{work}/{arch}/model.safetensors", 21)
    for seed, (arch, _, name, keys) in enumerate(CASES):
        base, adapter, label = f"{work}/{arch}", f"{work}/{arch}-{name}", f"{arch} {name}"
        model, ids = make(base, keys, adapter, seed), tokens(41, 512, seed)
        want = logits(model, ids)
        flags = ["--dtype", "float32", "--adapter", adapter]
        got = engine(program, ("--hf-model", base), ids, "--grads", *flags)
        d = worst(got["logits"], want)
        check(d < 1e-4, f"{label}: logits differ by {d:.2e}")
        effect = worst(want, logits(load(base), ids))
        check(effect > 0.1, f"{label}: the adapter changes logits by {effect:.2f}")
        d = worst(engine(program, ("--hf-model", base), ids, "--merge-adapter", *flags)["logits"], want)
        check(d < 1e-4, f"{label}: merged, logits differ by {d:.2e}")
        grads = gradients(model, mean_loss(model(input_ids=torch.tensor([ids])), ids))
        grads = {plain(k): g for k, g in grads.items() if "lora_" in k}
        check_grads(label, got, "grad.", grads, 1e-4)
        check_greedy(program, label, ("--hf-model", base), model, ids[:9], 16, "--adapter", adapter)
    finish()


main()
