# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_ranks.sh - training over ranks that are threads of the process: how gradients and state are shared, masks, losses
# of routed layers, finetuning, going on at another number of ranks, and what is refused.  train_ranks_same.sh compares
# every way to share every family with one rank.  `BRIDGE_RANKS_ALL=1` takes more.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
. "$(dirname "$0")/libranks.sh"
runs=$data/train
full=${BRIDGE_RANKS_ALL:-}

# ---- how gradients and state are shared

# With no clipping the norm, whose last bits depend on who adds what, changes no weight.
typed "$runs/qwen3"
ranked 2 clip_grad=0 ddp_average_in_collective=false
trained parts
args+=(ddp_use_distributed_optimizer=false opt_use_distributed_optimizer=false)
trained whole
expect 0 diff runs/parts/checkpoints runs/whole/checkpoints
args+=(ddp_average_in_collective=true)
trained average
same_numbers average whole 1e-5
rm -r runs

# Twelve bytes a parameter, shared out: float32 main weights and two moments, beside copies of 16 bits on each rank.
typed "$runs/qwen3"
ranked 4 mixed_precision=bf16_mixed micro_batch_size=1
expect 0 train "${args[@]}" dir=runs name=plan --dry-run --json
jq -e '.plan | .trained_parameters as $n | .optimizer_bytes >= 12 * $n and .optimizer_bytes <= 12.5 * $n and
    .weight_bytes <= 4 * 2.5 * $n and .gradient_bytes >= 4 * 4 * $n' "$out" >/dev/null || fail "memory: $(cat "$out")"
typed "$runs/qwen3"
ranked 2 mixed_precision=bf16_mixed clip_grad=0 ddp_average_in_collective=false
trained parts
args+=(ddp_use_distributed_optimizer=false opt_use_distributed_optimizer=false)
trained whole
expect 0 diff runs/parts/checkpoints runs/whole/checkpoints
rm -r runs

# Exchange while ranks compute, of many small banks, changes no bit.
overlaps() {
    local on family=$1 n=$2
    shift 2
    for on in false true; do
        toy_args "$family" train_iters=6 ddp_bucket_size=2000 "ddp_overlap_grad_reduce=$on" "ddp_overlap_param_gather=$on"
        ranked "$n" "$@"
        trained $on
    done
    expect 0 diff runs/true/checkpoints runs/false/checkpoints
    same_numbers true false 0
    rm -r runs
}
overlaps qwen3_moe 2 ep=2
if [ -n "$full" ]; then
    for family in $families; do
        while read -r _ n how; do
            overlaps "$family" "$n" $how
        done < <(ways "$family")
    done
    overlaps qwen3 2 mixed_precision=bf16_mixed
    overlaps qwen3 8 mixed_precision=bf16_mixed tp=2 pp=2
fi

# ---- masks of which ranks have different numbers of tokens

# Megatron's numbers, which with calculate_per_token_loss do not depend on how the batch is cut.
typed "$runs/qwen2"
for per_token in true false; do
    uneven=(eod_mask_loss=true "calculate_per_token_loss=$per_token" micro_batch_size=1)
    typed "$runs/qwen2"
    args+=("${uneven[@]}")
    trained one
    typed "$runs/qwen2"
    ranked 4 "${uneven[@]}"
    trained many
    same_numbers many one 1e-5
    # With cp the mean is of each rank's tokens: only their sum is that of one rank.
    if [ $per_token = true ]; then
        typed "$runs/qwen2"
        ranked 4 "${uneven[@]}" cp=2
        trained context
        same_numbers context one 1e-5
    fi
    jq -s -e 'any(.loss_tokens < .tokens)' runs/many/log.jsonl >/dev/null || fail "all tokens have a loss"
    rm -r runs
done

# ---- the global load-balancing loss counts the tokens of all ranks

# Four ranks with a sequence each have the counts of one with all four.  Megatron averages the ranks' losses, of which each
# is a quarter of the whole: with four times the coefficient the gradient is that of the one.
global=(moe_router_load_balancing_type=global_aux_loss train_iters=6)
typed "$runs/qwen3_moe"
args+=("${global[@]}" micro_batch_size=4 moe_aux_loss_coeff=0.25)
trained one
typed "$runs/qwen3_moe"
ranked 4 "${global[@]}" micro_batch_size=1 moe_aux_loss_coeff=1
trained many
same_numbers many one 1e-5
jq -s -e 'all(.[]; .global_load_balancing_loss > 0.5)' runs/many/log.jsonl >/dev/null || fail "no global loss"
rm -r runs

# ---- finetuning: ranks take every dp-th sample; adapters

for case in qwen2_sft qwen2_lora qwen2_dora; do
    [ -n "$full" ] || [ $case = qwen2_lora ] || continue
    typed "$runs/$case" "$runs/qwen2_sft/model"
    args+=(micro_batch_size=1)
    trained one
    typed "$runs/$case" "$runs/qwen2_sft/model"
    ranked 2 micro_batch_size=1
    trained many
    same_numbers many one 1e-5
    rm -r runs
done

# ---- a run goes on at another number of ranks

typed "$runs/qwen2"
ranked 2 micro_batch_size=1
expect 0 train "${args[@]}" save_interval=10 dir=runs name=two --no-sync
goes_on() {
    ranked "$@" micro_batch_size=1
    expect 0 train "${args[@]}" load=runs/two/checkpoints ckpt_step=10 save_interval=null dir=runs name=on --no-sync
    jq -c 'select(.iteration > 10)' runs/two/log.jsonl >rest
    mkdir -p runs/rest
    mv rest runs/rest/log.jsonl
    same_numbers on rest 1e-5
    weights on
    as_near on two
    rm -r runs/on
}
weights two
typed "$runs/qwen2"
goes_on 4
typed "$runs/qwen2"
goes_on 1
typed "$runs/qwen2"
goes_on 2
cmp on.safetensors two.safetensors || fail "a run that goes on over as many ranks comes to other weights"
if [ -n "$full" ]; then
    typed "$runs/qwen2"
    goes_on 2 tp=2
    typed "$runs/qwen2"
    goes_on 4 tp=2 sequence_parallel=true
    typed "$runs/qwen2"
    goes_on 2 pp=2
fi
rm -r runs

# ---- what is wrong is said once

typed "$runs/qwen3"
high=170141183460469231731687303715884105728 # 2^127
ranked 2 mixed_precision=fp16_mixed calculate_per_token_loss=true initial_loss_scale=$high loss_scale_window=3 hysteresis=2
expect 0 train "${args[@]}" dir=runs name=skips --no-sync
jq -s -e 'any(.[]; .skipped) and any(.[]; .skipped | not)' runs/skips/log.jsonl >/dev/null || fail "no step was skipped"
typed "$runs/qwen3"
ranked 2 adam_eps=0
expect 16 train "${args[@]}" dir=runs name=a --no-sync
complains 'first tensor whose gradient is not finite: '
[ "$(grep -c 'bridge: step' "$err")" = 1 ] || fail "more than one message"
expect 2 train qwen2_500m_pretrain_config --ranks 2 --single-rank
complains '--single-rank, and there are 2 ranks'
expect 5 train "${args[@]}" tp=3
complains 'tp 3'
typed "$runs/qwen3"
ranked 4 tp=4
expect 12 train "${args[@]}" dir=runs name=a --no-sync
complains 'tp 4 is more than num_query_groups 2'
ranked 2 ddp_use_megatron_fsdp=true
expect 12 train "${args[@]}" dir=runs name=a --no-sync
complains 'Megatron FSDP is not here'
done_ok
