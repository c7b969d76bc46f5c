# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_errors.sh - what bridge train, data and adapter say of settings and files that they cannot use; those of
# checkpoints are in train_resume.sh and train_disk.sh, the rest where the feature is tested.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
runs=$data/train
chat=$data/hf/qwen3_tiny_chat
# refuses STATUS TEXT SETTING...: the run of `args` with these settings ends so, with this text on stderr and no folder.
refuses() {
    local status=$1 text=$2
    shift 2
    expect "$status" train "${args[@]}" "$@" dir=refused name=r --no-sync
    complains "$text"
    [ ! -e refused/r/log.jsonl ] || fail "a run was begun"
    rm -rf refused
}

# ---- settings

typed "$runs/qwen2"
pair=$runs/qwen2/data
refuses 5 "split '0,0,0': expected shares of train, valid and test, such as '99,1,0'" dataset_split=0,0,0
refuses 5 "split '1,1,1,1': expected at most three numbers" dataset_split=1,1,1,1
refuses 5 "split '1.2.3': '1.2.3' is no number" dataset_split=1.2.3
refuses 5 "data paths: the weight of '$pair' is negative" data_paths="[\"-1\",\"$pair\",\"2\",\"$pair\"]"
refuses 5 'data paths: all weights are zero' data_paths="[\"0\",\"$pair\"]"
refuses 5 'give one of data_paths, data_args_path, per_split_data_args_path and train_data_path' train_data_path="$pair"
refuses 12 'dataloader_type=external is Python code; single, cyclic and batch are here' dataloader_type=external

# ---- records

printf '{"input_ids": [1,2,3,4,5,6], "cu_seqlens": [0,4,2,6]}\n' >cu.jsonl
refuses 4 'cu.jsonl, line 1: "cu_seqlens" decreases at entry 2' data_paths=cu.jsonl
printf '{"input_ids": [1,2,3,4,5,6], "cu_seqlens": [0,4]}\n' >cu.jsonl
refuses 4 'cu.jsonl, line 1: "cu_seqlens" must go from 0 to the number of tokens, 5' data_paths=cu.jsonl
printf '{"input_ids": [1,-1]}\n' >bad.jsonl
refuses 5 "'bad.jsonl' has no record for train" data_paths=bad.jsonl --skip-bad-records
complains 'bad.jsonl, line 1: "input_ids"[1] is -1, expected 0 to 127'

typed "$runs/qwen2_sft" "$runs/qwen2_sft/model"
mkdir sft
printf '{"input": 1}\n' >sft/training.jsonl
refuses 4 'sft/training.jsonl, line 1: "input" is not a string' dataset_path=sft
refuses 4 "'sft/training.jsonl' has no record that can be used" dataset_path=sft --skip-bad-records
printf '{"input": "", "output": ""}\n' >sft/training.jsonl
refuses 4 'sft/training.jsonl, line 1: the record gives 0 tokens, expected at least two' dataset_path=sft \
    'dataset_kwargs={"prompt_template":"{input}{output}","add_eos":false,"add_bos":false}'
printf '{"input": "%080d", "output": "yes"}\n' 1 2 3 4 5 6 >sft/training.jsonl
refuses 5 "no record of 'sft/training.jsonl' fits in a row of 8 tokens" dataset_path=sft packed_sequence=true \
    packed_sequence_size=8

# ---- token files

printf '{"text": "one two three"}\n' >text.jsonl
expect 0 data build text.jsonl --tokenizer "$chat" -o built
expect 9 data build text.jsonl --tokenizer "$chat" -o built
complains 'built'
expect 2 data build text.jsonl --tokenizer "$chat" -o keys --json-keys "$(printf 'key%d,' $(seq 1 40))text"
complains 'keys, at most'

# ---- the page of a run

mkdir empty
: >empty/log.jsonl
expect 4 train report empty
complains "'empty/log.jsonl' holds no step"

# ---- adapters to begin from

case=$runs/qwen2_lora
model=$runs/qwen2_sft/model
typed "$case" "$model"
# edited FILTER: the adapter with another header.
edited() {
    local from=$case/init_trainable.safetensors header n
    header=$(st_header "$from" | jq -c "$1")
    n=${#header}
    {
        printf '%b' "$(printf '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' $((n & 255)) $((n >> 8)))"
        printf %s "$header"
        tail -c +$((9 + $(od -An -t u8 -N 8 "$from"))) "$from"
    } >edited.safetensors
}
begins=(adapter_init=edited.safetensors)
first=$(st_header "$case/init_trainable.safetensors" | jq -r 'del(.__metadata__) | keys[0]')
edited .
expect 0 train "${args[@]}" "${begins[@]}" train_iters=3 save_interval=null dir=runs name=same --no-sync
edited "with_entries(if .key == \"$first\" then .key = \"other\" else . end)"
refuses 8 "adapter_init 'edited.safetensors': it lacks '$first'" "${begins[@]}"
edited ".\"$first\".dtype = \"I32\""
refuses 12 "'$first' is of type int32, expected a float type" "${begins[@]}"
edited ".\"$first\".shape |= [.[0] * .[1], 1]"
refuses 8 "'$first' is [" "${begins[@]}"
complains ', 1], expected ['
refuses 5 "lora_A_init: got 'ones'" lora_A_init=ones
expect 0 train "${args[@]}" train_iters=3 save_interval=null dir=runs name=lora --no-sync
expect 0 adapter export runs/lora/checkpoints lora --hf-model "$model"
refuses 8 'its rank is 8, peft_dim is 4' adapter_init=lora peft_dim=4 peft_alpha=8
mkdir nothing_of_ours
touch nothing_of_ours/adapter_model.safetensors
expect 9 adapter export runs/lora/checkpoints nothing_of_ours --hf-model "$model" --overwrite
complains "'nothing_of_ours' holds files but no"
expect 1 adapter verify runs/lora/checkpoints "$case/adapter_hf_10" --hf-model "$model"
complains "difference(s) between 'runs/lora/checkpoints' and '$case/adapter_hf_10'"
expect 0 toy qwen2 -o wide --set hidden_size=64
expect 8 adapter import lora elsewhere --hf-model wide
complains "the adapter of '"
complains "the weight is ["
done_ok
