# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""engine_mtp.py BRIDGE WORK   (needs megatron-core, and its shim on PYTHONPATH)

The multi-token-prediction head against the real megatron-core: its GPTModel, made of its plain torch modules so that it
runs on a CPU, is filled from the checkpoint that `bridge import` writes; then its logits and those of its MTP layer must
be the engine's."""
import os
import re
import subprocess
import sys

import cpu_shim  # noqa: F401  first: it makes the next imports possible
import torch
from load_check import dcp, resolve
from megatron.core import parallel_state
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_decoder_block_spec, get_gpt_mtp_block_spec
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
from megatron.core.transformer.transformer_config import TransformerConfig
from safetensors.torch import load_file

program, work = sys.argv[1:3]
HIDDEN, FFN, LAYERS, HEADS, GROUPS, WIDTH, VOCAB = 192, 320, 3, 6, 2, 64, 512


def bridge(*args):
    subprocess.run([program, *args], check=True, stdin=subprocess.DEVNULL)


def config():
    return TransformerConfig(
        num_layers=LAYERS, hidden_size=HIDDEN, ffn_hidden_size=FFN, num_attention_heads=HEADS, num_query_groups=GROUPS,
        kv_channels=WIDTH, normalization="RMSNorm", layernorm_epsilon=1e-6, qk_layernorm=True, gated_linear_unit=True,
        activation_func=torch.nn.functional.silu, add_bias_linear=False, add_qkv_bias=False, mtp_num_layers=1,
        mtp_loss_scaling_factor=0.0,  # else backward adds a share of the MTP loss on its own
        hidden_dropout=0.0, attention_dropout=0.0, use_cpu_initialization=True, bias_activation_fusion=False,
        masked_softmax_fusion=False, bias_dropout_fusion=False, apply_rope_fusion=False, persist_layer_norm=False,
        gradient_accumulation_fusion=False)


def megatron():
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{20000 + os.getpid() % 20000}", rank=0, world_size=1)
    parallel_state.initialize_model_parallel()
    model_parallel_cuda_manual_seed(1)
    cfg = config()
    block = get_gpt_decoder_block_spec(cfg, use_transformer_engine=False)
    return GPTModel(
        cfg, block, VOCAB, 512, position_embedding_type="rope", rotary_base=1000000,
        share_embeddings_and_output_weights=False,
        mtp_block_spec=get_gpt_mtp_block_spec(cfg, block.layer_specs[-1], use_transformer_engine=False)).float().eval()


def stored_name(name):
    """The checkpoint has the names of fused modules: a norm belongs to the linear layer behind it.  (key, layer)"""
    name = name.replace("mtp_model_layer", "transformer_layer")
    name = name.replace("input_layernorm.weight", "self_attention.linear_qkv.layer_norm_weight")
    name = name.replace("pre_mlp_layernorm.weight", "mlp.linear_fc1.layer_norm_weight")
    layer = re.fullmatch(r"decoder\.layers\.(\d+)\.(.*)", name)
    return (f"decoder.layers.{layer[2]}", int(layer[1])) if layer else (name, None)


def fill(model, stored):
    used = set()
    with torch.no_grad():
        for name, p in model.named_parameters():
            key, layer = stored_name(name)
            p.copy_(stored[key] if layer is None else stored[key][layer])
            used.add(key)
    assert used == set(stored), used ^ set(stored)


# Parameters that have the same rows in both worlds: Hugging Face name, module parameter
SAME = {
    "model.embed_tokens.weight": "embedding.word_embeddings.weight",
    "lm_head.weight": "output_layer.weight",
    "model.norm.weight": "decoder.final_layernorm.weight",
    "model.layers.1.mlp.down_proj.weight": "decoder.layers.1.mlp.linear_fc2.weight",
    "model.layers.2.self_attn.k_norm.weight": "decoder.layers.2.self_attention.k_layernorm.weight",
    "mtp.fc.weight": "mtp.layers.0.eh_proj.weight",
    "mtp.pre_fc_norm_embedding.weight": "mtp.layers.0.enorm.weight",
    "mtp.pre_fc_norm_hidden.weight": "mtp.layers.0.hnorm.weight",
    "mtp.norm.weight": "mtp.layers.0.final_layernorm.weight",
    "mtp.layers.0.self_attn.o_proj.weight": "mtp.layers.0.mtp_model_layer.self_attention.linear_proj.weight",
}


def gradients(model, ids):
    """Of the sum of the two losses, by module parameter."""
    main, mtp = run(model, ids)
    entropy = torch.nn.functional.cross_entropy
    loss = entropy(main[:-1], torch.tensor(ids[1:])) + entropy(mtp[:-2], torch.tensor(ids[2:]))
    model.zero_grad()
    loss.backward()
    return {name: p.grad.double() for name, p in model.named_parameters()}


def run(model, ids):
    """Logits of the model and of its MTP layer, in this order."""
    seen = []
    hook = model.output_layer.register_forward_hook(lambda _, __, out: seen.append(out[0][:, 0].clone()))  # the loss overwrites it
    x = torch.tensor([ids])
    n = len(ids)
    mask = torch.ones(1, 1, n, n, dtype=torch.bool).triu(1)
    model(x, torch.arange(n)[None], mask, labels=torch.roll(x, -1, 1))
    hook.remove()
    mtp, main = seen
    return main, mtp


def compare_gradients(got, want):
    wrong = 0
    for name, parameter in SAME.items():
        d = (got[f"grad_mtp.{name}"].double() - want[parameter]).norm() / want[parameter].norm()
        print(f"    gradient of {name} differs by {d:.2e}")
        wrong += not d < 1e-4
    return wrong


def main():
    os.makedirs(work, exist_ok=True)
    keys = (f"hidden_size={HIDDEN} intermediate_size={FFN} num_hidden_layers={LAYERS} num_attention_heads={HEADS} "
            f"num_key_value_heads={GROUPS} head_dim={WIDTH} vocab_size={VOCAB} mtp_num_hidden_layers=1").split()
    hf, checkpoint, out = (os.path.join(work, n) for n in ("hf", "megatron", "out.safetensors"))
    bridge("toy", "--arch", "qwen3", "--dtype", "float32", "--output-dir", hf, "--set", *keys)
    bridge("import", hf, "--megatron-path", checkpoint, "--no-sync", "--quiet")
    model = megatron()
    fill(model, dcp(resolve(checkpoint))[0])
    wrong = 0
    for n in (2, 3, 65):
        ids = torch.randint(0, VOCAB, (n,), generator=torch.Generator().manual_seed(n)).tolist()
        want_main, want_mtp = (x.detach() for x in run(model, ids))
        loss = None if n < 3 else torch.nn.functional.cross_entropy(want_mtp[:-2], torch.tensor(ids[2:])).item()
        for source in (["--hf-model", hf], ["--megatron-path", checkpoint]):
            bridge("logits", *source, "--input-ids", ",".join(map(str, ids)), "--dtype", "float32", "--mtp", "--grads",
                   "--output", out, "--overwrite", "--quiet")
            got = load_file(out)
            for name, want in (("logits", want_main), ("mtp.logits", want_mtp)):
                d = (got[name] - want).abs().max().item()
                print(f"{source[0]} {n} tokens: {name} of spread {want.std().item():.2f} differs by {d:.2e}")
                wrong += not d < 1e-4
            if loss is not None:
                print(f"{source[0]} {n} tokens: mtp.loss {got['mtp.loss'].item():.6f}, expected {loss:.6f}")
                wrong += not abs(got["mtp.loss"].item() - loss) < 2e-5
                wrong += compare_gradients(got, gradients(model, ids))
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
