# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# generate.sh - `bridge generate`: every option, from both formats, alone and in a batch, as chat,
# and input that is wrong.
. "$(dirname "$0")/lib.sh"
one_thread

model=$data/hf/qwen3_tiny_chat
golden=$data/hf_golden/qwen3_tiny_chat/golden.json
prompt=$(jq -c '.prompt_ids | join(",")' -r "$golden")
want=$(jq -c .greedy_ids "$golden")
f32=(--dtype float32)

ids() { jq -c .ids "$out"; }
# same WHAT: the last run's new ids are transformers' greedy ones.
same() { [ "$(ids)" = "$want" ] || fail "$1: $(ids), expected $want"; }

# ---- ids in, ids out ---------------------------------------------------------------------------------

expect 0 generate --hf-model "$model" --input-ids "$prompt" --max-new-tokens 24 --ignore-eos "${f32[@]}" --json
same "a list"
silent
json '(keys - ["ids", "text", "tokens_per_second", "prompt_tokens", "finish_reason", "prompt_tokens_per_second",
               "time_to_first_token", "private_bytes", "notes", "warnings"]) == []'
json '.prompt_tokens == 8 and .finish_reason == "length" and (.text | type) == "string"'
json '.tokens_per_second > 0 and .time_to_first_token > 0 and .prompt_tokens_per_second > 0'
json '.private_bytes > 0 and .private_bytes < 100000000'
printf '[%s]\n' "${prompt//,/, }" >ids.txt
expect 0 generate "$model" --input-ids ids.txt -N 24 --ignore-eos "${f32[@]}" --json
same "a file"

# the model page's spellings, with underscores and dashes
bridge_import() { "$BRIDGE" import "$model" --megatron-path megatron --no-sync --quiet >/dev/null; }
bridge_import
for flags in "--hf_model_path $model --tp 1 --pp 1 --ep 1 --etp 1 --max_new_tokens 24" \
    "--megatron_model_path megatron --max-new-tokens 24" \
    "--hf-model-path $model --megatron-path megatron --tensor-parallel-size 2 --n-predict 24" \
    "--megatron-load-path megatron/iter_0000000 --pp 2 --max-tokens 24" \
    "$model --tp 2 --pp 2 --etp 1 -N 24 --threads 1" "$model -N 24 --device cpu --context 32 --torch-dtype float32"; do
    read -ra words <<<"$flags"
    expect 0 generate "${f32[@]}" "${words[@]}" --input_ids "$prompt" --ignore_eos --json
    same "$flags"
done
for arch in qwen3_moe qwen3_next; do
    expect 0 toy $arch -o $arch
    expect 0 generate $arch --input-ids 5,6,7 "${f32[@]}" --json
    json '.text == null'
    want=$(ids)
    for flags in "--ep 2" "--tp 2 --ep 2 --etp 1" "--tp 2 --etp 2" "--tp 2 --pp 2"; do
        read -ra words <<<"$flags"
        expect 0 generate $arch --input-ids 5,6,7 "${f32[@]}" --json "${words[@]}"
        same "$arch $flags"
    done
    expect 0 generate $arch --input-ids 5,6,7 "${f32[@]}"
    [ "[$(cat "$out")]" = "$want" ] || fail "ids are printed where there is no tokenizer"
done

# ---- text --------------------------------------------------------------------------------------------

expect 0 tokenize --tokenizer "$model" <<<"Hello there"
expect 0 generate "$model" --prompt "Hello there" "${f32[@]}" --json -N 12
json '.prompt_tokens == 5'
jq -r .text "$out" >text
single=$(ids)
expect 0 generate "$model" --prompt "Hello there" "${f32[@]}" -N 12
cmp text "$out" || fail "streamed text"
complains "bridge: prompt 5 tokens"
complains "first token"
expect 0 generate "$model" --prompt "Hello there" "${f32[@]}" -N 12 --quiet
silent
printf 'Hello there' | "$BRIDGE" generate "$model" "${f32[@]}" -N 12 --quiet | cmp text - || fail "standard input"
expect 0 generate --megatron-path megatron -p "Hello there" "${f32[@]}" -N 12 -q --tokenizer "$data/tokenizer/small"
cmp text "$out" || fail "another tokenizer directory"
expect 0 generate --hf-model "$model" --megatron-path megatron -p "Hello there" "${f32[@]}" -N 12 -q
cmp text "$out" || fail "the tokenizer of the reference"
expect 0 generate --megatron-path megatron -p "Hello there" "${f32[@]}" -N 12 -q
cmp text "$out" || fail "the tokenizer that import put into the checkpoint"
expect 0 generate "$model" -p "Hello there"
complains "20 new"

# a batch equals single runs, whatever its company
printf 'Hello there\n\nThe quick brown fox\nabc\nHello there\n' >prompts
expect 0 generate "$model" --prompts-file prompts "${f32[@]}" -N 12 --json
json '.sequences | length == 4 and .[0].ids == .[3].ids'
json ".sequences[0].ids == $single"
jq -c '.sequences[1].ids' "$out" >batched
expect 0 generate "$model" -p "The quick brown fox" "${f32[@]}" -N 12 --json
[ "$(ids)" = "$(cat batched)" ] || fail "batch and single run"
expect 0 generate "$model" --prompts-file prompts "${f32[@]}" -N 12
says "==== 4"
printf 'The quick brown fox\r\n\r\n' >prompts
expect 0 generate "$model" --prompts-file prompts "${f32[@]}" -N 12 --json
json ".sequences | length == 1 and .[0].ids == $(cat batched)"
printf 'abc\n' >prompts
expect 0 generate "$model" --prompts-file prompts -N 2 --json
json '.sequences | length == 1'

# ---- ends --------------------------------------------------------------------------------------------

cp -r "$model" ends
chmod -R u+w ends
want=$(jq -c .greedy_ids "$golden")
third=$(jq '.greedy_ids[2]' "$golden")
jq ".eos_token_id = [500, $third]" "$model/generation_config.json" >ends/generation_config.json
expect 0 generate ends --input-ids "$prompt" -N 24 "${f32[@]}" --json
json '.finish_reason == "eos" and (.ids | length == 3)'
expect 0 generate ends --input-ids "$prompt" -N 24 "${f32[@]}" --json --ignore-eos
same "--ignore-eos"
jq ".eos_token_id = $third" "$model/generation_config.json" >ends/generation_config.json
expect 0 generate ends --input-ids "$prompt" -N 24 "${f32[@]}" --json
json '.ids | length == 3'
rm ends/generation_config.json
jq ".eos_token_id = $third" "$model/config.json" >ends/config.json
expect 0 generate ends --input-ids "$prompt" -N 24 "${f32[@]}" --json
json '.ids | length == 3'
jq '.eos_token_id = [1e300, -7, 2.5, "x"]' "$model/config.json" >ends/config.json
expect 0 generate ends --input-ids "$prompt" -N 24 "${f32[@]}" --json
same "ids that are none end nothing"

expect 0 generate "$model" --input-ids "$prompt" -N 24 "${f32[@]}" --json --ignore-eos --stop iz! --stop " for for"
json '.finish_reason == "stop" and (.text | endswith("...")) and (.text | contains(" for") | not)'
expect 0 generate "$model" --input-ids "$prompt" -N 24 "${f32[@]}" --ignore-eos --stop "h W"
[ "$(tail -c 4 "$out")" = " pr W" ] || [ "$(cat "$out")" = "$(printf '\357\277\275 pr W')" ] || fail "text before a stop text"

# ---- sampling ----------------------------------------------------------------------------------------

sampled() { expect 0 generate "$model" --input-ids "$prompt" -N 16 "${f32[@]}" --json --ignore-eos "$@"; }
sampled --temperature 1 --seed 7
first=$(ids)
sampled --temp 1 --seed 7
[ "$(ids)" = "$first" ] || fail "the same seed"
sampled --temperature 1 --seed 8
[ "$(ids)" != "$first" ] || fail "another seed"
want=$(jq -c '.greedy_ids[:16]' "$golden")
for flags in "--temperature 5 --top-k 1" "--temperature 5 --top-p 0.000001" "--temperature 2 --min-p 1" "--temperature 0"; do
    read -ra words <<<"$flags"
    sampled "${words[@]}"
    same "$flags"
done
sampled --repetition-penalty 8
json '(.ids | unique | length) == 16'
sampled --repeat-penalty 8 --temperature 0
json '(.ids | unique | length) == 16'

# ---- adapters ----------------------------------------------------------------------------------------

for kind in lora dora; do
    base=$data/hf/$(jq -r .base "$data/adapters/qwen3_$kind/golden.json" | sed 's|.*/||')
    expect 0 generate "$base" --input-ids 3,4,5 "${f32[@]}" --json --ignore-eos
    plain=$(ids)
    expect 0 generate "$base" --input-ids 3,4,5 "${f32[@]}" --json --ignore-eos --adapter "$data/adapters/qwen3_$kind"
    want=$(ids)
    [ "$plain" != "$want" ] || fail "the adapter does nothing"
    expect 0 generate "$base" --input-ids 3,4,5 "${f32[@]}" --json --ignore-eos --adapter "$data/adapters/qwen3_$kind" --tp 2 --pp 2
    same "shared by ranks"
    expect 0 generate "$base" --input-ids 3,4,5 "${f32[@]}" --json --ignore-eos --lora "$data/adapters/qwen3_$kind" --merge-adapter
    same "merged"
done

# ---- chat --------------------------------------------------------------------------------------------

cp -r "$model" chat
chmod -R u+w chat
cp "$data/chat/chat_template.jinja" chat/
prompt_of() { "$BRIDGE" chat-template --tokenizer chat --add-generation-prompt "${@:2}" <<<"$1" >rendered; }
prompt_of '[{"role": "user", "content": "He said \"hi\""}]'
expect 0 generate chat --prompt "$(cat rendered)" "${f32[@]}" --json
want=$(ids)
expect 0 generate chat --chat --greedy --prompt 'He said "hi"' "${f32[@]}" --json
same "--chat"
expect 0 generate chat --apply-chat-template <<<'He said "hi"' "${f32[@]}" --json
prompt_of '[{"role": "system", "content": "Be\\brief"}, {"role": "user", "content": "Hi"}]' --enable-thinking false
expect 0 generate chat --prompt "$(cat rendered)" "${f32[@]}" --json
want=$(ids)
expect 0 generate chat --chat --greedy --system 'Be\brief' --enable-thinking false -p Hi "${f32[@]}" --json
same "--system, --enable-thinking"
printf 'Hi\n' >prompts
expect 0 generate chat --chat --greedy --system 'Be\brief' --enable-thinking false --prompts-file prompts "${f32[@]}" --json
jq '.sequences[0]' "$out" >one && mv one "$out"
same "--chat in a batch"

# ---- what is wrong says so -----------------------------------------------------------------------------

refused() { # STATUS TEXT ARGUMENT...
    expect "$1" generate "${@:3}"
    complains "$2"
    mute
}
refused 2 "no model; give --hf-model or --megatron-path" --prompt x
refused 2 "the prompt has 300 tokens, the model's max_position_embeddings is 256" "$model" --input-ids "$(seq -s, 300)"
refused 2 "300 tokens are more than the model's max_position_embeddings 256" "$model" --input-ids 1 --context 300
refused 2 "do not fit into a cache of 2" "$model" --input-ids 1,2,3 --context 2
refused 2 "token id 512 is outside the model's vocabulary of 512" "$model" --input-ids 1,512
refused 2 "'x' is no token id" "$model" --input-ids 1,x
refused 2 "'-1' is no token id" "$model" --input-ids 1,-1
refused 2 "'99999999999999999999999' is no token id" "$model" --input-ids 99999999999999999999999
refused 2 "a comma without a token id" "$model" --input-ids ,
refused 2 "no token ids" "$model" --input-ids "[ ]"
refused 2 "give one of --prompt, --prompts-file and --input-ids" "$model" --input-ids 1 --prompt x
refused 2 "'--prompt' is empty" "$model" --prompt ''
last="generate chat --chat"
printf 'a\0b' | "$BRIDGE" generate chat --chat >"$out" 2>"$err" && fail "a NUL byte"
complains "NUL byte"
: >nothing
refused 2 "'nothing' has no prompts" "$model" --prompts-file nothing
refused 11 "'missing'" "$model" --prompts-file missing
refused 2 "option '--chat' needs text, not --input-ids" "$model" --input-ids 1 --chat
refused 2 "option '--system' needs --chat" "$model" --prompt x --system y
refused 2 "option '--enable-thinking' needs --chat" "$model" --prompt x --enable-thinking true
refused 2 "'--merge-adapter' needs --adapter" "$model" --input-ids 1 --merge-adapter
refused 2 "'--temperature' is '-1'" "$model" --input-ids 1 --temperature -1
refused 2 "'--top-p' is '2', expected a number from 0 to 1" "$model" --input-ids 1 --temperature 1 --top-p 2
refused 2 "'--min-p' is '2'" "$model" --input-ids 1 --temperature 1 --min-p 2
refused 2 "repetition" "$model" --input-ids 1 --repetition-penalty 0
refused 2 "'-N' is '0', expected a whole number from 1 to 2147483647" "$model" --input-ids 1 -N 0
refused 2 "cannot be shared by tp 3" "$model" --input-ids 1 --tp 3
refused 2 "cannot be shared by ep 3" qwen3_moe --input-ids 1 --ep 3
refused 2 "layers" "$model" --input-ids 1 --pp 3
refused 11 "no backend 'none'" "$model" --input-ids 1 --device none
BRIDGE_CPU=none refused 12 "BRIDGE_CPU=none: this machine does not have that tier" "$model" --input-ids 1
refused 11 "has no chat template" "$model" --prompt x --chat
refused 11 "no tokenizer.json in 'qwen3_moe'; give --tokenizer" qwen3_moe --prompt x
refused 11 "elsewhere" "$model" --prompt x --tokenizer elsewhere
refused 5 "they do not belong together" qwen3_moe --tokenizer "$data/tokenizer/small" --prompt '<|im_start|>'

# a config.json that asks for what the engine does not compute, or for nonsense
odd() { # STATUS TEXT ARCH KEY=VALUE...
    rm -rf odd
    "$BRIDGE" toy "$3" -o odd --quiet --set "${@:4}" >/dev/null || fail "toy ${*:3}"
    refused "$1" "$2" odd --input-ids 5,6,7
}
odd 5 "rotary embedding of 96 channels" qwen3_next partial_rotary_factor=3
odd 5 "rotary embedding of 33 channels" qwen3 head_dim=33
odd 5 "with theta 0 is impossible" qwen3 rope_theta=0
odd 5 "YaRN with factor 0" qwen3 'rope_scaling={"rope_type":"yarn","factor":0,"original_max_position_embeddings":128}'
odd 12 "'hidden_act' is \"gelu\", which changes the forward pass" qwen2 hidden_act=gelu
odd 5 "9 of 4 experts" qwen3_moe num_experts_per_tok=9
odd 5 "0 of 4 experts" qwen3_moe num_experts_per_tok=0

cp -r "$data/adapters/qwen3_lora" adapter
chmod -R u+w adapter
printf '\000\000\300\177' | dd of=adapter/adapter_model.safetensors bs=1 \
    seek=$(($(stat -c %s adapter/adapter_model.safetensors) - 4)) conv=notrunc status=none
refused 16 ".lora_B.weight' has NaN or infinite values" "$base" --input-ids 1,2 --adapter adapter
truncate -s 3000 adapter/adapter_model.safetensors
refused 4 "adapter_model.safetensors" "$base" --input-ids 1,2 --adapter adapter
jq 'del(.r)' "$data/adapters/qwen3_lora/adapter_config.json" >adapter/adapter_config.json
refused 5 "r is 0" "$base" --input-ids 1 --adapter adapter
printf '{"peft_type": "LORA", "r": 4,' >adapter/adapter_config.json
refused 4 "adapter 'adapter'" "$base" --input-ids 1 --adapter adapter
printf '{"peft_type": "IA3"}' >adapter/adapter_config.json
refused 12 "peft_type is 'IA3', expected LORA" "$base" --input-ids 1 --adapter adapter
jq '.bias = "all"' "$data/adapters/qwen3_lora/adapter_config.json" >adapter/adapter_config.json
refused 12 "'bias' is set" "$base" --input-ids 1 --adapter adapter
rm adapter/adapter_config.json
refused 11 "cannot open 'adapter/adapter_config.json'" "$base" --input-ids 1 --adapter adapter
# A tied model whose file holds a copy of the output layer: --sparse makes both of them zeros.
"$BRIDGE" toy qwen3 -q -o tied --sparse --set tie_word_embeddings=false hidden_size=64 vocab_size=256
jq '.tie_word_embeddings = true' tied/config.json >config.json && mv config.json tied/config.json
header='{"base_model.model.lm_head.lora_A.weight":{"dtype":"F32","shape":[1,64],"data_offsets":[0,256]},
 "base_model.model.lm_head.lora_B.weight":{"dtype":"F32","shape":[256,1],"data_offsets":[256,1280]}}'
{
    # shellcheck disable=SC2059 # the format is the two bytes of the length
    printf "$(printf '\\x%02x' $((${#header} % 256)) $((${#header} / 256)))"
    head -c 6 /dev/zero
    printf '%s' "$header"
    head -c 1280 /dev/zero
} >adapter/adapter_model.safetensors
jq '.r = 1' "$data/adapters/qwen3_lora/adapter_config.json" >adapter/adapter_config.json
refused 12 "which this model ties to its embedding" tied --input-ids 1 --adapter adapter
refused 8 "which the model has not" qwen3_moe --input-ids 1 --adapter "$data/adapters/qwen3_lora"
refused 8 "the model has [" "$data/hf/qwen2_untied_bf16" --input-ids 1 --adapter "$data/adapters/qwen2_lora"

# a NaN: bfloat16 0x7fff somewhere in the last tensor
printf '\377\177' | dd of=ends/model.safetensors bs=1 seek=$(($(stat -c %s ends/model.safetensors) - 2)) conv=notrunc status=none
refused 16 "has NaN or infinite values" ends --input-ids 1,2
done_ok
