# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_fixtures.sh - every recorded run of Megatron Bridge, typed: pretraining, full finetuning, LoRA, DoRA, to the weights
# or the adapter that it ended with; and the real checkpoints of their middle, from which training goes on.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
need_fixture train/runs
fixtures=${fixture%/runs}

n=0 finals=0
for case in "$fixtures"/{runs,sft,lora,dora}/*; do
    model=$case/hf
    [ -d "$model" ] || model=$fixtures/hf_models/$(jq -r .family "$case/case.json")
    typed "$case" "$model"
    expect 0 train "${args[@]}" save_interval=null dir=runs name=a --no-sync
    compared "$case" runs/a/log.jsonl
    if [ -e "$case/final_trainable.safetensors" ] && [[ $case != *bf16 ]]; then
        near_adapter "$case" runs/a "$model"
    fi
    if [ -d "$case/final" ] && [[ $case != *bf16 ]]; then
        expect 0 export -q --megatron-path runs/a/checkpoints --hf-path final --no-sync
        near_tensors "$case/final/model.safetensors" final/model.safetensors 5e-5
        rm -r final
        finals=$((finals + 1))
    fi
    rm -r runs
    n=$((n + 1))
    [ -d "$case/ckpt" ] || continue
    expect 0 train "${args[@]}" load="$case/ckpt" save_interval=null dir=runs name=a --no-sync
    first=$(head -n 1 runs/a/log.jsonl | jq .iteration)
    [ "$first" = $(($(jq .save_interval "$case/case.json") + 1)) ] || fail "$case goes on with step $first"
    compared "$case" runs/a/log.jsonl "$first"
    rm -r runs
done
[ $n = 28 ] || fail "$n cases"

# Pretraining from the ids, masks and positions that Megatron's model was seen to read, in that order.
n=0
for case in "$fixtures"/runs/*; do
    typed "$case"
    jq -c '.[][] | . as $b | range(.tokens | length) as $i | {input_ids: $b.tokens[$i], labels: $b.labels[$i],
        loss_mask: $b.loss_mask[$i], position_ids: $b.position_ids[$i]}' "$case/batches.json" >ids.jsonl
    mapfile -t args < <(printf '%s\n' "${args[@]}" | grep -v '^data_paths=\|^eod_mask_loss=\|^pad_token_id=')
    expect 0 train "${args[@]}" data_paths=ids.jsonl data_order=file save_interval=null dir=runs name=a --no-sync
    compared "$case" runs/a/log.jsonl
    rm -r runs
    n=$((n + 1))
done
[ $n = 15 ] || fail "$n cases from ids"
[ $finals = 5 ] || fail "$finals runs with final weights"
done_ok
