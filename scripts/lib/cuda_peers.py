# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""cuda_peers.py DIR BATCH - tokens/s of transformers on this GPU, of a model of random bfloat16 weights whose sizes DIR's
config.json says: 64 tokens of BATCH sequences after a prompt of 16.  A line each: eager, and compiled with a static cache."""
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM, StaticCache

N, PROMPT = 64, 16
batch = int(sys.argv[2])
device = "cuda" if torch.cuda.is_available() else "cpu"
config = AutoConfig.from_pretrained(sys.argv[1])
torch.set_default_dtype(torch.bfloat16)
with torch.device(device):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
prompt = torch.arange(batch * PROMPT, device=device).reshape(batch, PROMPT) * 7919 % config.vocab_size


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


def new_cache():
    try:
        return StaticCache(config=config, max_cache_len=256)
    except TypeError:
        return StaticCache(config, batch, 256, device, torch.bfloat16)


def decode(step, cache):
    """Seconds of N steps after the prompt."""
    at = torch.arange(PROMPT, device=device)
    ids = model(prompt, past_key_values=cache, cache_position=at, use_cache=True).logits[:, -1:].argmax(-1)
    at = at[-1:] + 1
    wait()
    begin = time.perf_counter()
    for _ in range(N):
        ids = step(ids, cache, at)
        at = at + 1
    wait()
    return time.perf_counter() - begin


def one(ids, cache, at):
    return model(ids, past_key_values=cache, cache_position=at, use_cache=True).logits[:, -1:].argmax(-1)


with torch.inference_mode():
    decode(one, new_cache())
    print(f"decode eager\t{batch * N / decode(one, new_cache()):.2f}", flush=True)
    compiled = torch.compile(one, mode="reduce-overhead", fullgraph=False)

    def step(ids, cache, at):
        return compiled(ids, cache, at).clone()  # its memory belongs to the recorded graph

    decode(step, new_cache())
    print(f"decode compiled\t{batch * N / min(decode(step, new_cache()) for _ in range(2)):.2f}", flush=True)
