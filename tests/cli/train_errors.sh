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
refuses 2 "'lr' is no setting; expected key=value" lr
refuses 5 'eval_iters 1000000000000000 are too many' eval_iters=1000000000000000 global_batch_size=10000
refuses 5 'num_layers of the recipe is not that of' num_layers=3
mkdir -p occupied/r
touch occupied/r/checkpoints
expect 11 train "${args[@]}" dir=occupied name=r --no-sync
complains "'occupied/r/checkpoints' is not a directory"

# ---- where a run goes on from, and its log

expect 0 train "${args[@]}" train_iters=6 global_batch_size=16 save_interval=null dir=runs name=more --no-sync
expect 5 train "${args[@]}" load=runs/more/checkpoints train_iters=9 lr_decay_iters=20 dir=runs name=less --no-sync
complains 'the training data has 86 samples, made for train_iters 9 × global_batch_size 4, and the run has used 96 in its 6 steps: too few for the 3 steps that are left'
[ ! -e runs/less/log.jsonl ] || fail "a run without data was begun"
expect 3 train "${args[@]}" train_iters=6 save_interval=null dir=runs name=full --log-jsonl /dev/full --no-sync
complains "'/dev/full' is no regular file"

# ---- tokenizers

mkdir noeos endless wordless tags
cp "$runs/qwen2/hf/tokenizer.json" noeos
cp "$runs/qwen2_sft/model/tokenizer.json" endless
echo '{}' | tee noeos/tokenizer_config.json >endless/tokenizer_config.json
echo '{"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"},
    "decoder": {"type": "ByteLevel"}}' >wordless/tokenizer.json
echo '{}' >wordless/tokenizer_config.json
printf '{"text": "one two three"}\n' >text.jsonl
refuses 5 'the tokenizer names no eos_token, and without an end of documents there is nothing to reset or to mask' \
    tokenizer_model=noeos eod_mask_loss=true
refuses 5 "'text.jsonl' is text, and there is no tokenizer; set tokenizer_type and tokenizer_model" \
    data_paths=text.jsonl tokenizer_type=NullTokenizer tokenizer_vocab_size=100
refuses 4 'wordless/tokenizer.json: model: merges: no token for byte 0x00' tokenizer_model=wordless

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

refuses 5 'the tokenizer names no end of text (eos_token of tokenizer_config.json)' dataset_path=sft tokenizer_model=endless
talk='{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}'
echo "$talk" >sft/training.jsonl
for name in tokenizer tokenizer_config; do
    sed 's/<|im_start|>/<|begin|>/g' "$runs/qwen2_sft/model/$name.json" >tags/$name.json
done
printf '{%% for m in messages %%}{{ m.content }}{%% endfor %%}' >tags/chat_template.jinja
refuses 12 'the tokenizer has neither <|im_start|> nor <|start_header_id|>' dataset_path=sft 'dataset_kwargs={"chat":true}' \
    tokenizer_model=tags
cp "$runs/qwen2_sft/model"/tokenizer*.json tags
printf '{%% for m in messages %%}<|im_start|>{{ m.role }}\n{{ m.content }}{%% endfor %%}' >tags/chat_template.jinja
refuses 4 'sft/training.jsonl, line 1: turn 1 of the assistant has no end in the rendered template' dataset_path=sft \
    'dataset_kwargs={"chat":true}' tokenizer_model=tags

# ---- token files

expect 0 data build text.jsonl --tokenizer "$chat" -o built
expect 9 data build text.jsonl --tokenizer "$chat" -o built
complains 'built'
expect 2 data build text.jsonl --tokenizer "$chat" -o keys --json-keys "$(printf 'key%d,' $(seq 1 40))text"
complains 'keys, at most'
echo 'one two three' >text.txt
expect 2 data build text.txt --tokenizer "$chat" -o words --json-keys a,b
complains "'text.txt' is a text file, which has no members; --json-keys is for JSONL and Parquet"
expect 2 data build text.jsonl -o words
complains "'data build' needs one of --tokenizer DIR and --hf-model DIR"
expect 2 data build text.jsonl -o words --tokenizer "$chat" --hf-model "$chat"
complains "'data build' needs only one of --tokenizer DIR and --hf-model DIR"
expect 5 data build text.jsonl -o words --tokenizer endless --append-eod
complains 'the tokenizer names no eos_token; --eod-token says what ends a document'
expect 2 data build text.jsonl -o words --tokenizer endless --eod-token nothing
complains "'nothing' is no token of this tokenizer"
[ ! -e words.bin ] || fail "a refused build has written"

# ---- the page of a run

mkdir empty
: >empty/log.jsonl
expect 4 train report empty
complains "'empty/log.jsonl' holds no step"
printf '{"iteration": 1}\n{"iteration"\n' >empty/log.jsonl
expect 4 train report empty
complains "'empty/log.jsonl', line 2: "
truncate -s 9G empty/log.jsonl
expect 4 train report empty
complains "'empty/log.jsonl' is no log: it is too large"

# ---- adapters to begin from

case=$runs/qwen2_lora
model=$runs/qwen2_sft/model
typed "$case" "$model"
# edited FILTER [FILE [TO]]: the adapter with another header.
edited() {
    local from=${2:-$case/init_trainable.safetensors} header n
    header=$(st_header "$from" | jq -c "$1")
    n=${#header}
    {
        printf '%b' "$(printf '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' $((n & 255)) $((n >> 8)))"
        printf %s "$header"
        tail -c +$((9 + $(od -An -t u8 -N 8 "$from"))) "$from"
    } >"${3:-edited.safetensors}"
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
refuses 8 'it holds 16 tensors, the adapter has 4' 'peft_target_modules=["linear_qkv"]'
args+=(adapter_init=null)
refuses 2 'the model has none of the target modules' 'peft_target_modules=["nothing"]'
refuses 12 "'decoder.final_layernorm' cannot have an adapter: only linears can" 'peft_target_modules=["final_layernorm"]'
refuses 2 'an adapter of dim 70000 and alpha 16; expected 1 to 65536' peft_dim=70000
expect 0 train "${args[@]}" 'peft_target_modules=["linear_qkv"]' train_iters=3 save_interval=null dir=runs name=narrow --no-sync
typed "$case" "$model"
expect 0 train "${args[@]}" train_iters=3 save_interval=null dir=runs name=lora --no-sync
expect 0 adapter export runs/lora/checkpoints lora --hf-model "$model"
refuses 8 'its rank is 8, peft_dim is 4' adapter_init=lora peft_dim=4 peft_alpha=8
refuses 8 "it has 16 tensors in Megatron's form, this run 4" adapter_init=lora 'peft_target_modules=["linear_qkv"]'
expect 0 adapter export runs/narrow/checkpoints narrow --hf-model "$model"
refuses 8 "it has nothing for 'decoder.layers.0." adapter_init=narrow
cp -r runs/narrow/checkpoints halved
sed -i 's/linear_qkv\.adapter\.linear_out/linear_qkv.adapter.linear_oux/g' halved/iter_0000003/.metadata
expect 8 adapter export halved none_of_it --hf-model "$model"
complains "has 1 of the 2 tensors of an adapter of 'decoder.layers.0.self_attention.linear_qkv'"
cp -r runs/narrow/checkpoints foreign
sed -i 's/linear_qkv\.adapter/linear_qkw.adapter/g' foreign/iter_0000003/.metadata
expect 12 adapter export foreign none_of_it --hf-model "$model"
complains 'is no adapter of a linear of this model'
[ ! -e none_of_it ] || fail "something was written"
sed -i '/alpha:/d' runs/narrow/checkpoints/iter_0000003/run_config.yaml
expect 5 adapter export runs/narrow/checkpoints none_of_it --hf-model "$model"
complains 'run_config.yaml does not say peft.alpha, by which an adapter is scaled'
mkdir nothing_of_ours
touch nothing_of_ours/adapter_model.safetensors
expect 9 adapter export runs/lora/checkpoints nothing_of_ours --hf-model "$model" --overwrite
complains "'nothing_of_ours' holds files but no"
expect 1 adapter verify runs/lora/checkpoints "$case/adapter_hf_10" --hf-model "$model"
complains "difference(s) between 'runs/lora/checkpoints' and '$case/adapter_hf_10'"
touch file
expect 9 adapter export runs/lora/checkpoints file --hf-model "$model"
complains "'file' exists and is no directory"
expect 0 adapter import lora back --hf-model "$model"
expect 9 adapter import lora back --hf-model "$model"
complains "'back' is not empty; --overwrite replaces its checkpoint"

# ---- peft directories

# odd FILTER STATUS TEXT VERB: `lora` with another header is refused by `adapter VERB`.
odd() {
    rm -rf odd
    cp -r lora odd
    edited "$1" lora/adapter_model.safetensors odd/adapter_model.safetensors
    expect "$2" adapter "$4" odd elsewhere --hf-model "$model"
    [ "$2" = 0 ] || complains "$3"
}
odd . 0 '' import
rm -r elsewhere
q=base_model.model.model.layers.0.self_attn.q_proj
moved='with_entries(.key |= sub("layers.0.self_attn.q_proj"; "NAME"))'
odd "${moved/NAME/norm}" 12 "the adapter changes 'model.norm.weight', which is no linear of this model" import
odd "${moved/NAME/norm}" 12 "'model.norm.weight' is " merge
complains 'with 1 axes; an adapter can be added to a matrix of float32, bfloat16 or float16'
odd "with_entries(if .key == \"$q.lora_A.weight\" then .key = \"$q.bias\" else . end)" 12 \
    "unexpected tensor '$q.bias'; expected lora_A, lora_B or lora_magnitude_vector of a linear layer" import
odd ".\"$q.lora_A.weight\".dtype = \"I32\"" 4 "tensor '$q.lora_A.weight' has an impossible shape or dtype" import
odd ".\"$q.lora_A.weight\".shape |= [.[0] / 2, .[1] * 2]" 4 'has lora_A [4, 64] and lora_B [32, 8], expected rank 8' import
printf '\002\0\0\0\0\0\0\0{}' >odd/adapter_model.safetensors
expect 8 adapter import odd elsewhere --hf-model "$model"
complains 'the adapter has no tensors'
expect 0 train "${args[@]}" --peft dora adapter_init=null train_iters=3 save_interval=null dir=runs name=dora --no-sync
mv lora of_lora
expect 0 adapter export runs/dora/checkpoints lora --hf-model "$model"
odd "${moved/q_proj\"; \"NAME/k_proj\"; \"norm}" 12 \
    "only a part of 'decoder.layers.0.self_attention.linear_qkv' has a DoRA adapter; Megatron has one for all of it" import
rm -r lora
mv of_lora lora
[ ! -e elsewhere ] || fail "a refused import has written"
expect 0 toy qwen2 -o wide --set hidden_size=64
expect 8 adapter merge lora elsewhere --hf-model wide
complains "the adapter of 'model.layers.0."
expect 8 adapter import lora elsewhere --hf-model wide
complains "the adapter of '"
complains "the weight is ["

# ---- a checkpoint of an adapter is no model

expect 8 export runs/lora/checkpoints --hf-model "$model" --hf-path elsewhere
complains "'runs/lora/checkpoints/iter_0000003' holds an adapter and no model: 'bridge adapter merge' adds it to the weights"
expect 8 generate --megatron-path runs/lora/checkpoints --hf-model "$model" --input-ids 1
complains 'holds an adapter and no model'
[ ! -e elsewhere ] || fail "an adapter was exported as a model"
done_ok
