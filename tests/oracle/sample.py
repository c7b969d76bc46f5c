# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""sample.py [GOLDEN] - what transformers' logits processors leave to sample from.

Prints tests/data/sample/cases.json: for many logits and settings the ids that survive and their probabilities, by
transformers' own classes in generate()'s order, in float64.  With GOLDEN, compares instead.
The logits of a case are a function of its salt (see logits()), which the C test repeats; every `coarse` case has many
equal logits.  A case whose outcome hangs on rounding, or on the order in which torch sorts equal logits, is left out."""
import json
import random
import sys

import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

MASK = (1 << 64) - 1
SHOWN = 6
SIZES = "vocab_size hidden_size num_hidden_layers num_attention_heads num_key_value_heads head_dim intermediate_size"
MODEL = Qwen3ForCausalLM(Qwen3Config(**{name: 1 if name.startswith("num") else 8 for name in SIZES.split()}))


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def logits(case):
    bits = 7 if case["coarse"] else 20
    return [(mix((case["salt"] << 32) + i) >> 64 - bits) / 2 ** (bits - 4) - 8 for i in range(case["vocab"])]


def processors(case):
    """generate()'s list, as _get_logits_processor of this version of transformers makes it."""
    config = GenerationConfig(
        do_sample=True,
        temperature=case["temperature"],
        top_k=case["top_k"],
        top_p=case["top_p"],
        min_p=case["min_p"],
        repetition_penalty=case["repetition_penalty"],
    )
    return MODEL._get_logits_processor(
        config, input_ids_seq_length=len(case["history"]), device="cpu", model_kwargs={}
    )


def survivors(case, dtype):
    scores = torch.tensor([logits(case)], dtype=dtype)
    history = torch.tensor([case["history"]], dtype=torch.long)
    done = processors(case)(history, scores)
    return torch.softmax(done.double(), -1)[0], done[0] > -float("inf")


def is_clear(case, kept):
    """The same outcome in float32, with top_p and min_p a little different, and no tie across the edge."""
    for change in (0, -1e-4, 1e-4):
        other = dict(case)
        if case["top_p"] < 1:
            other["top_p"] = min(max(case["top_p"] + change, 0), 1)
        if case["min_p"] > 0:
            other["min_p"] = min(max(case["min_p"] * (1 + change), 0), 1)
        for dtype in (torch.float32, torch.float64):
            if not torch.equal(survivors(other, dtype)[1], kept):
                return False
    only = dict(case, top_k=0, top_p=1.0, min_p=0.0)
    p = survivors(only, torch.float64)[0]
    return kept.all() or p[kept].min() > p[~kept].max()


def random_case(rng, i):
    case = {
        "vocab": rng.choice([1, 2, 7, 40, 40, 200]) if i % 20 else 151936,
        "salt": i + 1,
        "coarse": i % 3 == 0,
        "temperature": rng.choice([1.0, 0.6, 0.7, 0.1, 1.7]),
        "top_k": rng.choice([0, 0, 1, 5, 20, 300]),
        "top_p": rng.choice([1.0, 1.0, 0.8, 0.95, 0.5, 0.1]),
        "min_p": rng.choice([0.0, 0.0, 0.0, 0.05, 0.3]),
        "repetition_penalty": rng.choice([1.0, 1.0, 1.05, 1.5, 0.7]),
    }
    case["history"] = [rng.randrange(case["vocab"] + 1) for _ in range(rng.randrange(1, 9))] + [0, 0]
    return case


def golden():
    rng = random.Random(4)
    cases = []
    for i in range(160):
        case = random_case(rng, i)
        probs, kept = survivors(case, torch.float64)
        if not is_clear(case, kept):
            continue
        ids = kept.nonzero()[:, 0].tolist()
        case["kept"] = len(ids)
        case["ids_sum"] = sum(ids)
        case["ids"] = ids[:SHOWN]
        case["probs"] = [float(f"{p:.12g}") for p in probs[kept][:SHOWN].tolist()]
        cases.append(case)
    return cases


def main():
    text = "[\n" + ",\n".join(json.dumps(c) for c in golden()) + "\n]\n"
    if len(sys.argv) < 2:
        sys.stdout.write(text)
    elif open(sys.argv[1]).read() != text:
        sys.exit(f"{sys.argv[1]} is not what transformers says")


main()
