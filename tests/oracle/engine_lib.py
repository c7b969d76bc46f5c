# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""engine_lib.py - what the engine's oracles share: running bridge, transformers' float32 reference, comparisons.

The reference runs eagerly in float32 on one thread, with a loss that is the mean over next tokens.  A check that
fails is remembered and told; finish() ends the program with a status that counts them."""
import json
import os
import re
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

LOGITS = {"qwen3_next": 3e-4}
GRADS = {"qwen3_next": 5e-4}
failures = []


def check(ok, text):
    print("ok    " if ok else "WRONG ", text, flush=True)
    if not ok:
        failures.append(text)


def finish():
    print(f"{len(failures)} wrong")
    sys.exit(bool(failures))


def bridge(program, *args, status=0):
    """stdout of a run that must end with this status."""
    run = subprocess.run([program, *map(str, args)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if run.returncode != status:
        sys.exit(f"bridge {' '.join(map(str, args))}\nexit status {run.returncode}: {run.stderr}")
    return run.stdout


def ids_text(ids):
    return ",".join(map(str, ids))


def engine(program, source, ids, *args):
    """Tensors that `bridge logits` writes.  source: ("--hf-model", DIR) or ("--megatron-path", DIR)."""
    out = os.path.join(os.environ["TMPDIR"], "out.safetensors")
    bridge(program, "logits", *source, "--input-ids", ids_text(ids), "--output", out, "--overwrite", "--quiet", *args)
    return load_file(out)


def load(path, dtype=torch.float32):
    torch.set_num_threads(1)
    model, info = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, attn_implementation="eager", experts_implementation="eager", output_loading_info=True,
        local_files_only=True)
    bad = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
    if bad:
        sys.exit(f"{path}: missing or misshapen: {bad}")
    return model.eval()


def reweigh(path, seed):
    """Replace a toy's weights by random ones of the size that trained ones have, so that every layer matters."""
    stored = load_file(path)
    rng = torch.Generator().manual_seed(seed)
    for name, w in sorted(stored.items()):
        x = torch.randn(w.shape, generator=rng)
        if name.endswith("A_log"):
            x = 0.5 + x / 2
        elif "norm" in name:
            centred = "linear_attn.norm" in name or not zero_centred(stored)
            x = x / 4 + (1 if centred else 0)
        elif "embed" in name:
            x = x * (0.8 if "lm_head.weight" in stored else 0.15)
        elif w.ndim >= 2:
            x = x * 1.2 / w.shape[-1] ** 0.5
        stored[name] = x.to(w.dtype)
    save_file(stored, path, metadata={"format": "pt"})


def zero_centred(stored):
    return any("linear_attn" in name for name in stored)


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def tokens(n, vocab, seed=0):
    return torch.randint(0, vocab, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


def worst(a, b):
    d = (a - b).abs().max().item()
    return d if d == d else float("inf")


def relative(got, want):
    """L2 distance relative to the wanted tensor's length; of zero and zero, 0."""
    d, n = (got.double() - want.double()).norm().item(), want.double().norm().item()
    return d / n if n > 0 else (0.0 if d == 0 else float("inf"))


def stored_names(grads, stored):
    """Gradients under the names of the checkpoint's files: transformers holds a layer's experts in one tensor, files
    may hold them one by one."""
    out = {}
    for name, g in grads.items():
        fused = re.fullmatch(r"(.*\.experts\.)(gate_up_proj|down_proj)", name)
        if not fused or name in stored:
            out[name] = g
            continue
        for e in range(g.shape[0]):
            parts = g[e].chunk(2) if fused[2] == "gate_up_proj" else (g[e],)
            kinds = ("gate_proj", "up_proj") if fused[2] == "gate_up_proj" else ("down_proj",)
            for kind, part in zip(kinds, parts):
                out[f"{fused[1]}{e}.{kind}.weight"] = part
    return out


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {k: p.grad.clone() if p.grad is not None else torch.zeros_like(p) for k, p in model.named_parameters()}


def mean_loss(out, ids):
    return torch.nn.functional.cross_entropy(out.logits[0, :-1].float(), torch.tensor(ids[1:]))


def check_grads(label, got, prefix, want, tolerance):
    have = {k[len(prefix):]: v for k, v in got.items() if k.startswith(prefix)}
    check(set(have) == set(want), f"{label}: the same names: {sorted(set(have) ^ set(want))[:4]}")
    errors = {k: relative(have[k], want[k]) for k in set(have) & set(want)}
    name = max(errors, key=errors.get)
    check(errors[name] <= tolerance, f"{label}: {len(errors)} gradients, worst {errors[name]:.2e} ({name}) <= {tolerance}")


def greedy(model, ids, n):
    """transformers' own greedy continuation, and the gap between the two best logits at each step."""
    out = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=n, do_sample=False,
        eos_token_id=None, pad_token_id=0, output_logits=True, return_dict_in_generate=True)
    gaps = [(lambda top: (top[0] - top[1]).item())(row[0].topk(2).values) for row in out.logits]
    return out.sequences[0, len(ids):].tolist(), gaps


def check_greedy(program, label, source, model, ids, n, *args):
    want, gaps = greedy(model, ids, n)
    sure = next((i for i, gap in enumerate(gaps) if gap < 1e-3), n)
    got = json.loads(bridge(program, "generate", *source, "--input-ids", ids_text(ids), "--max-new-tokens", n,
                            "--ignore-eos", "--dtype", "float32", "--json", *args))["ids"]
    check(got[:sure] == want[:sure] and len(got) == n, f"{label}: {sure} of {n} greedy tokens are sure, and the same")
