# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""bench_engine.py MODEL - tokens/s of transformers in bfloat16: a prompt of 512, then 64 tokens from an empty context."""
import sys
import time

import torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
model.eval()


def prefill(n):
    ids = torch.arange(n).reshape(1, n) * 7919 % model.config.vocab_size
    begin = time.perf_counter()
    model(ids, use_cache=True, logits_to_keep=1)
    return n / (time.perf_counter() - begin)


def decode(n):
    ids, cache = torch.tensor([[13]]), None
    begin = time.perf_counter()
    for _ in range(n):
        out = model(ids, past_key_values=cache, use_cache=True)
        ids, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
    return n / (time.perf_counter() - begin)


with torch.inference_mode():
    prefill(64)
    decode(4)
    print(prefill(512))
    print(decode(64))
