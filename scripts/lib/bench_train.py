# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""bench_train.py MODEL TOKENS STEPS - seconds of a training step of transformers and torch in bfloat16 (SDPA, fused
AdamW), one sequence a step: a line for each step, forward and backward pass and then all of it."""
import sys
import time

import torch
from transformers import AutoModelForCausalLM

path, tokens, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16, attn_implementation="sdpa")
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
generator = torch.Generator().manual_seed(1)
for step in range(steps):
    ids = torch.randint(model.config.vocab_size, (1, tokens), generator=generator)
    begin = time.perf_counter()
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    passed = time.perf_counter()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    print(passed - begin, time.perf_counter() - begin, flush=True)
