# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train.sh - `bridge train --device cuda`: a recorded run of Megatron Bridge of each family, whole weights and adapters,
# float32 and bfloat16, gives its numbers as the CPU does.  Two steps of each; with BRIDGE_TEST_ALL all steps, and
# all recorded runs of the folder that BRIDGE_SHARED names.
. "$(dirname "$0")/../cli/lib.sh"
. "$(dirname "$0")/../cli/libtrain.sh"
. "$(dirname "$0")/../cli/libranks.sh"
steps=2

# run_case CASE [MODEL]
run_case() {
    local case=$1 name
    name=$(basename "$case")
    typed "$case" "${2:-$case/hf}"
    mkdir -p cases/"$name"
    cp "$case/case.json" cases/"$name"/
    if [ -n "${BRIDGE_TEST_ALL:-}" ]; then
        cp "$case/steps.json" cases/"$name"/
    else
        args+=(exit_interval=$steps)
        jq --argjson n $steps '.steps |= .[:$n]' "$case/steps.json" >cases/"$name"/steps.json
    fi
    expect 0 train "${args[@]}" --device cuda save_interval=null dir=runs "name=$name" --no-sync
    compared cases/"$name" runs/"$name"/log.jsonl
    rm -r runs cases
}
for case in qwen2 qwen3 qwen3_moe qwen3_next_mtp; do
    run_case "$data/train/$case"
done
for case in qwen2_sft qwen2_lora qwen2_dora; do
    run_case "$data/train/$case" "$data/train/qwen2_sft/model"
done

# Checkpoints have the optimizer's state from the device: a run on the device goes on where one on the CPU ended.
typed "$data/train/qwen2"
expect 0 train "${args[@]}" --device cpu exit_interval=2 save_interval=2 dir=runs name=a --no-sync
expect 0 train "${args[@]}" --device cuda exit_interval=3 save_interval=null dir=runs name=a --no-sync
jq -s -e --slurpfile want "$data/train/qwen2/steps.json" \
    'length == 3 and (.[2].lm_loss - $want[0].steps[2].losses["lm loss"] | fabs) < 1e-5' runs/a/log.jsonl >/dev/null ||
    fail "resumed: $(cat runs/a/log.jsonl)"
rm -r runs

# Over four devices, two data-parallel ranks of two tensor-parallel ones each: the device sums gradients, updates its
# part of the weights and gathers the rest.
typed "$data/train/qwen3"
ranked 4 tp=2 micro_batch_size=1 ddp_bucket_size=2000
for overlap in true false; do
    CUDASIM_WORK=$PWD/work-$overlap CUDASIM_DEVICES=4 expect 0 train "${args[@]}" --device cuda exit_interval=$steps \
        save_interval=null dir=runs name=$overlap --no-sync ddp_overlap_grad_reduce=$overlap \
        ddp_overlap_param_gather=$overlap
    jq -c '[.lm_loss, .grad_norm, .num_zeros]' runs/$overlap/log.jsonl >numbers-$overlap
done
jq -s -e --argjson n $steps --slurpfile want "$data/train/qwen3/steps.json" \
    'length == $n and ([range($n) as $i | .[$i].lm_loss - $want[0].steps[$i].losses["lm loss"] | fabs < 1e-4] | all)' \
    runs/true/log.jsonl >/dev/null || fail "over ranks: $(cat runs/true/log.jsonl)"
cmp numbers-true numbers-false || fail "other numbers with overlap: $(cat numbers-true numbers-false)"
# With overlap the first bank's sum is given to a device before its backward pass has come to the embedding.
given='/ncclReduceScatter/ { sums = 1 } /adamw_step/ { if (sums) exit } /add_to_rows/ { n += sums } END { print n + 0 }'
[ "$(awk "$given" work-true)" -gt 0 ] || fail "no sum began before the backward pass ended"
[ "$(awk "$given" work-false)" = 0 ] || fail "a sum began before the backward pass ended, without overlap"
# From one update to the next, inputs and results alone go between host and devices: 14 kB.  Gradients of four ranks
# alone would be 260 kB.
moved='/ncclReduceScatter/ { sums = 1 } /adamw_step/ && sums { all = n; is_update = 1 }
    /^copy / && is_update { n += $2 } END { print all + 0 }'
moved=$(awk "$moved" work-true)
[ "$moved" -gt 0 ] && [ "$moved" -lt 32768 ] || fail "$moved bytes went between host and devices in a step"
rm -r runs

[ -n "${BRIDGE_TEST_ALL:-}" ] || exit 0
need_fixture train/runs
fixtures=${fixture%/runs}
for case in "$fixtures"/{runs,sft,lora,dora}/*; do
    model=$case/hf
    [ -d "$model" ] || model=$fixtures/hf_models/$(jq -r .family "$case/case.json")
    run_case "$case" "$model"
done
