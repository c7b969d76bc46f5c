# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""engine_family.py BRIDGE ARCH WORK TOKENIZER

Models of one family that `bridge toy` writes, larger and of other shapes than the fixtures: the engine's logits, hidden
states, gradients, greedy continuations, scores, samples and comparisons must be those of transformers."""
import json
import math
import os
import sys

import torch
from safetensors.torch import load_file

from engine_lib import (GRADS, LOGITS, bridge, check, check_grads, check_greedy, engine, finish, gradients, ids_text,
                        load, logits, mean_loss, reweigh, stored_names, tokens, worst)

program, arch, work, tokenizer = sys.argv[1:5]
VOCAB = 512
YARN = '{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":128}'
YARN_ALL = ('{"rope_type":"yarn","factor":3.5,"original_max_position_embeddings":96,"beta_fast":20,"beta_slow":2,'
            '"mscale":1.3,"mscale_all_dim":0.6,"truncate":false}')
WINDOW = "use_sliding_window=true sliding_window=37 max_window_layers=1"
DENSE = f"hidden_size=256 intermediate_size=352 num_hidden_layers=4 num_attention_heads=8 vocab_size={VOCAB}"
MOE = f"hidden_size=256 num_hidden_layers=4 num_attention_heads=8 vocab_size={VOCAB} moe_intermediate_size=96"
# name, dtype, config.json's keys, other options of toy
CASES = {
    "qwen2": [
        ("tied", "bfloat16", f"{DENSE} num_key_value_heads=2", []),
        ("untied_window", "float32", f"{DENSE} num_key_value_heads=4 tie_word_embeddings=false {WINDOW} "
         f"rope_scaling={YARN_ALL}", []),
    ],
    "qwen3": [
        ("tied_128", "bfloat16", f"{DENSE} num_key_value_heads=1 head_dim=128 tie_word_embeddings=true", []),
        ("yarn_64", "float32", f"{DENSE} num_key_value_heads=8 head_dim=64 rope_scaling={YARN}", []),
        ("window_f16", "float16", f"{DENSE} num_key_value_heads=2 head_dim=64 {WINDOW}", []),
    ],
    "qwen3_moe": [
        ("8_of_3", "bfloat16", f"{MOE} num_key_value_heads=2 head_dim=64 num_experts=8 num_experts_per_tok=3", []),
        ("16_mixed", "float32", f"{MOE} num_key_value_heads=4 head_dim=32 num_experts=16 num_experts_per_tok=4 "
         "norm_topk_prob=false mlp_only_layers=[1] tie_word_embeddings=true", ["--expert-layout", "fused"]),
    ],
    "qwen3_next": [
        ("16_of_4", "bfloat16", f"{MOE} num_key_value_heads=2 head_dim=64 num_experts=16 num_experts_per_tok=4 "
         "shared_expert_intermediate_size=96 linear_num_key_heads=4 linear_num_value_heads=8 linear_key_head_dim=32 "
         "linear_value_head_dim=64 mtp_num_hidden_layers=1", []),
        ("every_second", "float32", f"{MOE} num_key_value_heads=8 head_dim=32 num_experts=8 num_experts_per_tok=2 "
         "shared_expert_intermediate_size=64 linear_num_key_heads=2 linear_num_value_heads=2 linear_key_head_dim=64 "
         "linear_value_head_dim=64 full_attention_interval=2 partial_rotary_factor=0.5 mlp_only_layers=[2] "
         "intermediate_size=128", []),
    ],
}
moe = arch in ("qwen3_moe", "qwen3_next")


def hidden_states(model, ids):
    """Embedding, output of each layer, and the final norm, as the engine names them."""
    outs, hooks = {}, []

    def keep(name):
        def hook(_, __, out):
            outs[name] = (out[0] if isinstance(out, tuple) else out).detach().reshape(len(ids), -1)
        return hook
    hooks.append(model.model.embed_tokens.register_forward_hook(keep("hidden.0")))
    for i, layer in enumerate(model.model.layers):
        hooks.append(layer.register_forward_hook(keep(f"hidden.{i + 1}")))
    hooks.append(model.model.norm.register_forward_hook(keep("hidden.norm")))
    outs["logits"] = logits(model, ids)
    for h in hooks:
        h.remove()
    return outs


def check_tensors(label, model, path, n):
    ids = tokens(n, VOCAB, n)
    flags = ["--dtype", "float32", "--hidden-states", "--grads"] + (["--aux-loss"] if moe else [])
    got = engine(program, ("--hf-model", path), ids, *flags)
    for name, want in hidden_states(model, ids).items():
        tolerance = LOGITS.get(arch, 1e-4) * max(1.0, want.abs().max().item() / 8)
        d = worst(got[name], want)
        check(d <= tolerance, f"{label} {n} tokens: {name} differs by {d:.2e} <= {tolerance:.1e}")
    stored = load_file(f"{path}/model.safetensors")
    out = model(input_ids=torch.tensor([ids]), use_cache=False, **({"output_router_logits": True} if moe else {}))
    loss = mean_loss(out, ids)
    check(abs(got["loss"].item() - loss.item()) < 2e-5, f"{label} {n} tokens: loss {loss.item():.6f}")
    total = loss + model.config.router_aux_loss_coef * out.aux_loss if moe else None
    tolerance = GRADS.get(arch, 1e-4)
    grads = stored_names(gradients(model, loss if not moe else mean_loss(
        model(input_ids=torch.tensor([ids]), use_cache=False), ids)), stored)
    check_grads(f"{label} {n} tokens", got, "grad.", grads, tolerance)
    if moe:
        aux = out.aux_loss.item()
        check(abs(got["aux_loss"].item() - aux) < 2e-5 * aux, f"{label} {n} tokens: aux loss {aux:.6f}")
        check_grads(f"{label} {n} tokens, aux", got, "grad_aux.", stored_names(gradients(model, total), stored), tolerance)


def check_bf16(label, model, path):
    """Rounding as transformers rounds: no further from float32 than its own bfloat16 run, by half."""
    ids = tokens(130, VOCAB, 7)
    want = logits(model, ids)
    theirs = (logits(load(path, torch.bfloat16), ids) - want).square().mean().sqrt().item()
    ours = (engine(program, ("--hf-model", path), ids, "--dtype", "bfloat16")["logits"] - want).square().mean().sqrt().item()
    text = f"{label}: bfloat16 rms {ours:.2e}, transformers' {theirs:.2e}"
    if moe:  # routers choose otherwise in both
        print("told  ", text)
    else:
        check(ours <= 1.5 * theirs, text)


def mtp_logits(model, path, ids, hidden):
    """The multi-token-prediction layer, put together of transformers' own modules in Megatron-LM's order: it has none."""
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextDecoderLayer, Qwen3NextRMSNorm
    stored = {k[4:]: v.float() for k, v in load_file(f"{path}/model.safetensors").items() if k.startswith("mtp.")}
    state = {k[9:]: v for k, v in stored.items() if k.startswith("layers.0.") and ".experts." not in k}
    experts = [[stored[f"layers.0.mlp.experts.{e}.{kind}_proj.weight"] for kind in ("gate", "up", "down")]
               for e in range(model.config.num_experts)]
    state["mlp.experts.gate_up_proj"] = torch.stack([torch.cat(e[:2]) for e in experts])
    state["mlp.experts.down_proj"] = torch.stack([e[2] for e in experts])
    layer = Qwen3NextDecoderLayer(model.config, model.config.layer_types.index("full_attention")).float().eval()
    layer.load_state_dict(state)

    def norm(x, name):
        module = Qwen3NextRMSNorm(x.shape[-1], model.config.rms_norm_eps)
        module.load_state_dict({"weight": stored[name]})
        return module(x)
    n = len(ids)
    with torch.no_grad():
        ahead = model.model.embed_tokens(torch.tensor(ids[1:] + [0]))
        both = torch.cat([norm(ahead, "pre_fc_norm_embedding.weight"), norm(hidden, "pre_fc_norm_hidden.weight")], -1)
        x = (both @ stored["fc.weight"].T)[None]
        mask = torch.full((n, n), torch.finfo(torch.float32).min).triu(1)[None, None]
        x = layer(x, position_embeddings=model.model.rotary_emb(x, torch.arange(n)[None]), attention_mask=mask)
        return model.lm_head(norm((x[0] if isinstance(x, tuple) else x).reshape(n, -1), "norm.weight"))


def check_mtp(label, model, path):
    ids = tokens(75, VOCAB, 17)
    got = engine(program, ("--hf-model", path), ids, "--dtype", "float32", "--mtp", "--hidden-states")["mtp.logits"]
    d = worst(got, mtp_logits(model, path, ids, hidden_states(model, ids)["hidden.norm"]))
    check(d < LOGITS[arch], f"{label}: mtp.logits differ by {d:.2e}")


def check_score(label, model, path):
    ids = tokens(97, VOCAB, 11)
    told = json.loads(bridge(program, "score", path, "--input-ids", ids_text(ids), "--dtype", "float32", "--json"))
    rows = logits(model, ids)[:-1].log_softmax(-1)
    want = rows[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    d = worst(torch.tensor(told["logprobs"][1:]), want)
    check(told["logprobs"][0] is None and d < LOGITS.get(arch, 1e-4), f"{label}: log-probabilities differ by {d:.2e}")
    perplexity = math.exp(-want.mean().item())
    check(abs(told["perplexity"] / perplexity - 1) < 1e-4, f"{label}: perplexity {perplexity:.4f}")


def check_compare(label, model, path):
    ids = tokens(33, VOCAB, 13)
    megatron = f"{path}-megatron"
    bridge(program, "import", path, "--megatron-path", megatron, "--no-sync", "--quiet")
    told = json.loads(bridge(program, "compare", "--hf-model", path, "--megatron-path", megatron, "--input-ids",
                             ids_text(ids), "--dtype", "float32", "--json"))
    best = logits(model, ids)[-1].topk(5).indices.tolist()
    for side in ("hf", "megatron"):
        check([t["id"] for t in told[side]] == best, f"{label}: compare's best of {side}")
    check(told["max_abs_diff"] == 0, f"{label}: both formats give the same logits")
    check_greedy(program, f"{label} from Megatron", ("--megatron-path", megatron), model, ids, 24)


def check_samples(label, model, path):
    """The first tokens of many samples follow the distribution: chi-squared against its own spread."""
    n, top_k, temperature = 768, 6, 1.7
    prompts = os.path.join(work, "prompts.txt")
    with open(prompts, "w", encoding="utf-8") as f:
        f.write("Hello there\n" * n)
    told = json.loads(bridge(program, "generate", path, "--prompts-file", prompts, "--tokenizer", tokenizer, "--seed", 5,
                             "--temperature", temperature, "--top-k", top_k, "--max-new-tokens", 1, "--ignore-eos",
                             "--dtype", "float32", "--json"))
    ids = [int(i) for i in bridge(program, "tokenize", "--tokenizer", tokenizer, "--", write("Hello there")).split()]
    top = (logits(model, ids)[-1] / temperature).topk(top_k)
    p = dict(zip(top.indices.tolist(), top.values.softmax(-1).tolist()))
    drawn = [s["ids"][0] for s in told["sequences"]]
    check(set(drawn) <= set(p), f"{label}: samples among the {top_k} best")
    chi2 = sum((drawn.count(i) - n * q) ** 2 / (n * q) for i, q in p.items())
    check(chi2 < 25, f"{label}: {n} samples, chi-squared {chi2:.1f} with {top_k - 1} degrees of freedom")


def write(text):
    path = os.path.join(work, "text.txt")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def main():
    os.makedirs(work, exist_ok=True)
    os.environ["TMPDIR"] = work
    for i, (name, dtype, keys, options) in enumerate(CASES[arch]):
        label, path = f"{arch} {name}", os.path.join(work, name)
        bridge(program, "toy", "--arch", arch, "--output-dir", path, "--dtype", dtype, "--seed", i + 1, *options,
               "--set", *keys.split())
        reweigh(f"{path}/model.safetensors", i)
        model = load(path)
        for n in (5, 130, 300):
            check_tensors(label, model, path, n)
        check_greedy(program, label, ("--hf-model", path), model, tokens(70, VOCAB, 3), 40)
        check_score(label, model, path)
        if "mtp" in keys:
            check_mtp(label, model, path)
        if dtype == "bfloat16":
            check_bf16(label, model, path)
            check_compare(label, model, path)
            check_samples(label, model, path)
    finish()


main()
