# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# recipe_memory.sh - memory and work against numbers that Megatron-LM's own functions gave for the same recipes
# (tests/data/recipes/megatron_memory.tsv says which), and against the published parameter counts.
. "$(dirname "$0")/lib.sh"
table=$data/recipes/megatron_memory.tsv

# The 19 models' pretraining and full finetuning, and a few adapters.
while IFS=$'\t' read -r recipe mode; do
    expect 0 recipe memory "$recipe" --mode "$mode" --gpu-mem 1000000 --json
    cat "$out"
done < <(grep -v '^#' "$table" | cut -f 1,2 | grep -v 'dora$' | sort -u) >shown
grep -v '^#' "$table" | grep -v '	dora	' >want

# state within 0.1% (ours counts biases, head norms and the like), the rest exactly; full recompute is ours alone.
jq -n -r --slurpfile have shown --rawfile want want '
    def near($a; $b; $t): ($a - $b | fabs) <= $t * $b;
    ($have | map({key: "\(.recipe) \(.mode)", value: .}) | from_entries) as $m |
    $want | split("\n")[] | select(. != "") | split("\t") | . as [$r, $mode, $what, $n] |
    ($n | tonumber) as $n | $m["\($r) \($mode)"] as $x |
    if $what == "work" then near($x.flops_per_step; $n; 1e-8)
    elif $what == "activations" then near($x.activation_bytes; $n; 1e-8)
    else near($x.weight_bytes + $x.gradient_bytes + $x.optimizer_bytes; $n; 1e-3) end |
    if . then "equal" else "\($r) \($mode) \($what): Megatron \($n), bridge \($x | tojson)" end' >result
! grep -v '^equal$' result || fail "differs from Megatron-LM"
[ "$(wc -l <result)" -ge 140 ] || fail "only $(wc -l <result) numbers compared"

# Parameters of the published checkpoints, and of them those that one token meets.
while read -r recipe total active; do
    expect 0 recipe memory "$recipe" --gpu-mem 1000000 --json
    json ".total_parameters == $total and .active_parameters == $active"
done <<'END'
qwen2_500m_pretrain_config 494032768 494032768
qwen2_7b_pretrain_config 7615616512 7615616512
qwen2_72b_pretrain_config 72706203648 72706203648
qwen25_14b_pretrain_config 14770033664 14770033664
qwen25_32b_pretrain_config 32763876352 32763876352
qwen3_600m_pretrain_config 596049920 596049920
qwen3_4b_pretrain_config 4022468096 4022468096
qwen3_8b_pretrain_config 8190735360 8190735360
qwen3_14b_pretrain_config 14768307200 14768307200
qwen3_32b_pretrain_config 32762123264 32762123264
qwen3_30b_a3b_pretrain_config 30532122624 3353032704
qwen3_235b_a22b_pretrain_config 235093634560 22190763520
END
# Without prediction layers it is the published checkpoint's count.
expect 0 recipe memory qwen3_next_80b_a3b_pretrain_config --set mtp_num_layers=0 --json
json '.total_parameters == 79674391296'

# What the numbers are for.
expect 0 recipe memory qwen3_8b_pretrain_config
says '16 GPUs = tp 2 × pp 1 × cp 1 × dp 8'
says 'fits in 80 GiB: '
says 'theoretical_memory_usage.py'
expect 20 recipe memory qwen3_8b_pretrain_config --gpu-mem 24 # a status of its own
says 'does not fit in 24 GiB: '
expect 20 recipe memory qwen3_8b_pretrain_config --gpu-mem 24 --json
json '.fits == false and .gpu_bytes == 24 * 1073741824'
json '.total_bytes == .weight_bytes + .gradient_bytes + .optimizer_bytes + .activation_bytes'

# Time: work / (GPUs x peak x share of it).
expect 0 recipe memory qwen3_8b_pretrain_config --mfu 50 --gpu-tflops 1000 --json
json '(.seconds_per_step - .flops_per_step / (16 * 1000e12 * 0.5) | fabs) < 1e-9'

# More processes hold less optimizer state; recomputing keeps less; adapters train less.
bytes() { expect 0 recipe memory "$@" --gpu-mem 1000000 --json; jq ".$field" "$out"; }
field=optimizer_bytes
few=$(bytes qwen3_8b_pretrain_config) many=$(bytes qwen3_8b_pretrain_config --world-size 32)
jq -n -e "$few == 2 * $many" >/dev/null || fail "optimizer: $few with dp 8, $many with dp 16"
none=$(bytes qwen3_8b_pretrain_config --set opt_use_distributed_optimizer=false ddp_use_distributed_optimizer=false)
jq -n -e "$none == 8 * $few" >/dev/null || fail "optimizer: $none whole, $few in 8 parts"
field=activation_bytes
full=$(bytes qwen3_8b_pretrain_config --set enable_recompute=true) kept=$(bytes qwen3_8b_pretrain_config)
jq -n -e "$full < $kept / 2" >/dev/null || fail "activations: $full recomputed, $kept kept"
# Rank 32 over qkv, proj, fc1 and fc2 of 36 layers: d (in + out) each.
expect 0 recipe memory qwen3_8b_finetune_config --json
json '.rank_trained_parameters == 36 * 32 * ((4096 + 6144) + (4096 + 4096) + (4096 + 24576) + (12288 + 4096))'
json '.gradient_bytes == 4 * .rank_trained_parameters'
expect 0 recipe memory qwen3_8b_finetune_config --peft dora --json
json '.rank_trained_parameters == 36 * (32 * (10240 + 8192 + 28672 + 16384) + 6144 + 4096 + 24576 + 4096)'
# The experts of a layer share an adapter on each rank, as Megatron Bridge's do (the shapes are those of
# tests/data/train/qwen3_moe_lora, for these sizes) unless each has its own; the router's is not split.
moe=(qwen3_30b_a3b_finetune_config --peft lora --gpu-mem 1000000 --json --set
    'peft_target_modules=["linear_qkv","linear_proj","linear_fc1","linear_fc2","router"]' peft_dim=8 tp=1 pp=1 ep=4)
expect 0 recipe memory "${moe[@]}"
json '.rank_trained_parameters == 48 * 8 * ((2048 + 5120) + (4096 + 2048) + (2048 + 1536) + (768 + 2048) + (2048 + 128))'
expect 0 recipe memory "${moe[@]}" peft_share_expert_adapters=false
json '.rank_trained_parameters ==
    48 * 8 * ((2048 + 5120) + (4096 + 2048) + 32 * (2048 + 1536) + 32 * (768 + 2048) + (2048 + 128))'
expect 0 recipe memory "${moe[@]}" peft_normalize_moe_lora=true
json '.rank_trained_parameters ==
    48 * (8 * ((2048 + 5120) + (4096 + 2048) + (2048 + 128)) + (2048 + 1536) + (768 + 2048))'
# Experts are split by ep, and their state by expert-dp.
expect 0 recipe memory qwen3_30b_a3b_pretrain_config --json
ep8=$(jq .rank_parameters "$out")
expect 20 recipe memory qwen3_30b_a3b_pretrain_config --set ep=4 --json
json "(.rank_parameters - $ep8 - 48 * 128 * 3 * 2048 * 768 / 8 | fabs) < 1"
json '.fits == false'

expect 2 recipe memory qwen3_8b_pretrain_config --mfu 101
complains "option '--mfu' is '101', expected a whole number from 1 to 100"
expect 5 recipe memory qwen3_8b_pretrain_config --set num_layers=null
complains "recipe 'qwen3_8b_pretrain_config' has no num_layers, which the estimate needs"
expect 5 recipe memory qwen3_30b_a3b_pretrain_config --set moe_ffn_hidden_size=null
complains 'has no moe_ffn_hidden_size, which a model with experts needs'
expect 5 recipe memory qwen3_next_80b_a3b_pretrain_config --set linear_key_head_dim=null
complains 'has no linear_key_head_dim, which a model with delta nets needs'
done_ok
