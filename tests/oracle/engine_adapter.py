# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""engine_adapter.py BRIDGE WORK

Adapters that peft makes on toys of two families: ranks, alphas, rank-stabilised scaling, DoRA, few and many targets.
Logits beside the weights and merged, and gradients of the adapter, must be those of peft on transformers.  The same of
an adapter of routed experts and a router, another one for each expert, which peft fits to transformers' fused experts."""
import json
import os
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from engine_lib import (bridge, check, check_grads, check_greedy, engine, finish, gradients, load, logits, mean_loss,
                        reweigh, stored_names, tokens, worst)

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


def make_of_experts(base, path, r, alpha):
    """An adapter of attention, router and each expert by itself, as peft stored it when experts were linears."""
    weights = {k[:-len(".weight")]: w.shape for k, w in load_file(f"{base}/model.safetensors").items()
               if k.endswith(("_proj.weight", ".mlp.gate.weight"))}
    rng, tensors = torch.Generator().manual_seed(r), {}
    for name, (rows, cols) in weights.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.randn((r, cols), generator=rng) / cols**0.5
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.randn((rows, r), generator=rng) * 0.1
    os.makedirs(path)
    save_file(tensors, f"{path}/adapter_model.safetensors", metadata={"format": "pt"})
    with open(f"{path}/adapter_config.json", "w") as f:
        json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": r, "lora_alpha": alpha, "bias": "none",
                   "base_model_name_or_path": base, "target_modules": sorted({n.split(".")[-1] for n in weights})}, f)
    return tensors


def experts():
    base, path, r, alpha = f"{work}/qwen3_moe", f"{work}/experts", 5, 20
    bridge(program, "toy", "--arch", "qwen3_moe", "--dtype", "float32", "--output-dir", base)
    reweigh(f"{base}/model.safetensors", 23)
    pairs = make_of_experts(base, path, r, alpha)
    plain = load(base)
    ids = tokens(41, plain.config.vocab_size, 5)
    before = logits(plain, ids)
    model = PeftModel.from_pretrained(load(base), path).eval()
    want = logits(model, ids)
    check(worst(want, before) > 0.1, f"experts: the adapter changes logits by {worst(want, before):.2f}")
    flags = ["--dtype", "float32", "--adapter", path]
    got = engine(program, ("--hf-model", base), ids, "--grads", *flags)
    d = worst(got["logits"], want)
    check(d < 1e-4, f"experts: logits differ by {d:.2e}")
    d = worst(engine(program, ("--hf-model", base), ids, "--merge-adapter", *flags)["logits"], want)
    check(d < 1e-4, f"experts: merged, logits differ by {d:.2e}")
    # Of w + s b a the chain rule takes the gradient by the weight to those of a and b.
    merged = model.merge_and_unload()
    for p in merged.parameters():
        p.requires_grad_(True)
    by_weight = stored_names(gradients(merged, mean_loss(merged(input_ids=torch.tensor([ids])), ids)), {})
    grads = {}
    for name in [n for n in pairs if n.endswith("lora_A.weight")]:
        g = by_weight[name[len("base_model.model."):-len(".lora_A.weight")] + ".weight"]
        b = name.replace("lora_A", "lora_B")
        grads[name] = alpha / r * pairs[b].T @ g
        grads[b] = alpha / r * g @ pairs[name].T
    check_grads("experts", got, "grad.", grads, 1e-4)
    check_greedy(program, "experts", ("--hf-model", base), model, ids[:9], 16, "--adapter", path)


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
    experts()
    finish()


main()
