# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""make_llama_toy.py OUT

Write the toys under tests/data/llama: a tiny LlamaForCausalLM each, saved by transformers' own save_pretrained, with
its results in float32: golden.json has the token ids, golden.safetensors the logits of 13 and of 32 tokens and the
hidden states of the 13 (hidden.0 embedding, hidden.N after layer N, hidden.norm after the last norm).

  llama_tied_bf16     one tensor for embedding and output layer; rope frequencies in all three bands of a context of 32
  llama_untied_bf16   an output layer of its own, head_dim * heads is not hidden_size; rope scaling of Llama 3.2

The same versions give the same bytes.  Each toy is refused if plain rope would give the same logits."""
import hashlib
import json
import os
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

COMMON = dict(vocab_size=128, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, rms_norm_eps=1e-5, attention_bias=False, mlp_bias=False, bos_token_id=126,
              eos_token_id=127, attn_implementation="eager")
CASES = {
    "llama_tied_bf16": dict(
        tie_word_embeddings=True, head_dim=8, max_position_embeddings=128,
        rope_parameters=dict(rope_type="llama3", rope_theta=100.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=32)),
    "llama_untied_bf16": dict(
        tie_word_embeddings=False, head_dim=16, max_position_embeddings=131072,
        rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=8192)),
}


def generator(*words):
    digest = hashlib.sha256(":".join(words).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


def fill(model, case, tied):
    """Spreads chosen so that every tensor moves the logits visibly."""
    for name, p in model.named_parameters():
        v = generator(case, name).standard_normal(tuple(p.shape)).astype(np.float32)
        if "norm" in name:
            v = 1 + 0.2 * v
        elif "embed_tokens" in name:
            v *= 0.3 if tied else 0.8
        else:
            v *= 0.3
        p.data.copy_(torch.from_numpy(v))


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().contiguous()


def hidden(model, ids):
    out, hooks = {}, []

    def grab(name):
        def hook(_module, _args, result):
            value = result[0] if isinstance(result, tuple) else result
            out[name] = value.detach().reshape(len(ids), -1).float().clone()
        return hook

    base = model.model
    modules = [("0", base.embed_tokens), ("norm", base.norm)]
    modules += [(str(i + 1), layer) for i, layer in enumerate(base.layers)]
    for name, module in modules:
        hooks.append(module.register_forward_hook(grab("hidden." + name)))
    logits(model, ids)
    for h in hooks:
        h.remove()
    return out


def load(path, **changes):
    model, info = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager",
                                                       output_loading_info=True, local_files_only=True, **changes)
    if info["missing_keys"] or info["unexpected_keys"]:
        sys.exit(f"{path}: {info}")
    return model.eval()


def write(case, changes, out):
    config = LlamaConfig(**COMMON, **changes)
    model = LlamaForCausalLM(config)
    fill(model, case, config.tie_word_embeddings)
    model.to(torch.bfloat16).save_pretrained(out)
    model = load(out)
    ids = {"short": generator(case, "short").integers(0, 124, 13).tolist(),
           "long": generator(case, "long").integers(0, 124, 32).tolist()}
    golden = {f"logits_{k}": logits(model, v) for k, v in ids.items()}
    golden |= hidden(model, ids["short"])
    save_file(dict(sorted(golden.items())), os.path.join(out, "golden.safetensors"))

    plain = load(out, rope_parameters=dict(rope_type="default", rope_theta=config.rope_parameters["rope_theta"]))
    moved = (logits(plain, ids["long"]) - golden["logits_long"]).abs().max().item()
    if moved < 1e-3:
        sys.exit(f"{case}: plain rope moves the logits by {moved} only")
    facts = {"name": case, "architecture": "LlamaForCausalLM", "dtype": "bfloat16",
             "versions": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]},
             "input_ids_short": ids["short"], "input_ids_long": ids["long"], "plain_rope_differs_by": moved,
             "inv_freq": model.model.rotary_emb.inv_freq.tolist()}
    with open(os.path.join(out, "golden.json"), "w", encoding="utf-8") as f:
        json.dump(facts, f, indent=2)
        f.write("\n")
    print(case, "plain rope differs by", moved)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    for case, changes in CASES.items():
        write(case, changes, os.path.join(sys.argv[1], case))


main()
