# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""recipe_memory.py BRIDGE - `bridge recipe memory` against Megatron-LM's own two functions, for every recipe.

theoretical_memory_usage.report_theoretical_memory gives bytes, training.num_floating_point_operations the work of a
step.  What Megatron's memory formula does not know is taken out of the comparison and said so: adapters (it trains
everything), full recompute, and delta-net layers (it counts plain attention; the work formula does know them).
"""

import json
import subprocess
import sys
from argparse import Namespace

import cpu_shim  # noqa: F401  Megatron without a GPU; on PYTHONPATH

from megatron.training import theoretical_memory_usage as theory  # noqa: E402
from megatron.training.training import num_floating_point_operations  # noqa: E402

theory.print_rank_0 = lambda *a: None


def run(*args):
    """What a command prints as JSON; 20 says that the recipe does not fit, of which the numbers are asked all the same."""
    done = subprocess.run(args, capture_output=True, text=True)
    assert done.returncode in (0, 20), (args, done.returncode, done.stderr)
    return json.loads(done.stdout)


def arguments(r):
    """The recipe as Megatron-LM's arguments."""
    linear = r["linear_attention_freq"] is not None
    return Namespace(
        num_layers=r["num_layers"], hidden_size=r["hidden_size"], ffn_hidden_size=r["ffn_hidden_size"],
        num_attention_heads=r["num_attention_heads"], num_query_groups=r["num_query_groups"],
        kv_channels=r["kv_channels"] or r["hidden_size"] // r["num_attention_heads"],
        group_query_attention=True, swiglu=True, normalization="RMSNorm", add_bias_linear=False,
        multi_latent_attention=False, moe_latent_size=None, moe_layer_freq=1, is_hybrid_model=False,
        hybrid_layer_pattern=None,
        num_experts=r["num_moe_experts"], moe_router_topk=r["moe_router_topk"],
        moe_ffn_hidden_size=r["moe_ffn_hidden_size"],
        moe_shared_expert_intermediate_size=r["moe_shared_expert_intermediate_size"],
        moe_shared_expert_gate=r["moe_shared_expert_intermediate_size"] is not None,
        mtp_num_layers=r["mtp_num_layers"] or None, padded_vocab_size=r["vocab_size"],
        untie_embeddings_and_output_weights=not r["tied_embeddings"],
        tensor_model_parallel_size=r["tp"], pipeline_model_parallel_size=r["pp"],
        virtual_pipeline_model_parallel_size=r["vpp"], expert_model_parallel_size=r["ep"],
        expert_tensor_parallel_size=r["etp"] or r["tp"], context_parallel_size=r["cp"], world_size=r["gpus"],
        data_parallel_size=r["gpus"] // (r["tp"] * r["pp"] * r["cp"]),
        use_distributed_optimizer=r["eff_use_distributed_optimizer"],
        seq_length=r["seq_length"], micro_batch_size=r["micro_batch_size"],
        sequence_parallel=r["sequence_parallel"], recompute_granularity=r["recompute_granularity"],
        attention_output_gate=linear,
        experimental_attention_variant="gated_delta_net" if linear else None,
        linear_attention_freq=r["linear_attention_freq"],
        linear_key_head_dim=r["linear_key_head_dim"], linear_value_head_dim=r["linear_value_head_dim"],
        linear_num_key_heads=r["linear_num_key_heads"], linear_num_value_heads=r["linear_num_value_heads"],
        linear_conv_kernel_dim=r["linear_conv_kernel_dim"])


def main():
    bridge, failed, n = sys.argv[1], 0, {"state": 0, "activations": 0, "work": 0}
    for row in run(bridge, "recipe", "list", "--json")["recipes"]:
        args = [row["recipe"], "--mode", row["mode"], "--json"]
        r, m = run(bridge, "recipe", "show", *args), run(bridge, "recipe", "memory", *args)
        a = arguments(r)
        state = theory.compute_weight_and_optimizer_memory(a)
        act = (theory.compute_activation_memory if a.sequence_parallel and a.recompute_granularity == "selective"
               else theory.compute_activation_memory_without_sp)(a, m["microbatches"])
        work = num_floating_point_operations(a, r["global_batch_size"])
        linear, peft = r["linear_attention_freq"] is not None, row["mode"] in ("lora", "dora")
        pairs = [("work", m["flops_per_step"], work, 1e-9)]
        if not linear and not peft:
            pairs.append(("state", m["weight_bytes"] + m["gradient_bytes"] + m["optimizer_bytes"], state, 0.001))
        if r["recompute_granularity"] != "full":
            pairs.append(("activations", m["activation_bytes"], act, 1e-9))
        for what, got, want, tolerance in pairs:
            n[what] += 1
            off = abs(got - want) / want
            if off > tolerance:
                failed += 1
            if off > tolerance or "-v" in sys.argv:
                print(f"{row['recipe']} {row['mode']}: {what}: bridge {got:.9g}, Megatron {want:.9g}, off {off:.2e}")
    print(f"{n['state']} states, {n['activations']} activations, {n['work']} works compared, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
