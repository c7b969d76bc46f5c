# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# score.sh - `bridge score`: log-probabilities against transformers' golden losses, files, windows.
. "$(dirname "$0")/lib.sh"
one_thread

model=$data/hf/qwen3_tiny_chat
golden=$data/hf_golden/qwen3_tiny_chat/golden.json
long=$(jq -r '.input_ids_long | join(",")' "$golden")
f32=(--dtype float32)

expect 0 score --hf-model "$model" --input-ids "$long" "${f32[@]}" --json
json '.counted == 31 and (.ids | length) == 32 and .logprobs[0] == null and (.logprobs | length) == 32'
json "(-.logprob / .counted - $(jq .train.loss "$golden")) | fabs < 2e-5"
json '((.logprobs[1:] | add) - .logprob) | fabs < 1e-9'
json '((-.logprob / .counted | exp) / .perplexity - 1) | fabs < 1e-9'
jq -c .logprobs "$out" >want
tr , '\n' <<<"$long" >ids.txt
for flags in "--tp 2" "--pp 2 --threads 1" "--device cpu"; do
    read -ra words <<<"$flags"
    expect 0 score "$model" --input-ids ids.txt "${f32[@]}" --json "${words[@]}"
    jq -c .logprobs "$out" | jq -e --slurpfile w want '[., $w[0]] | transpose[1:] | all((.[0] - .[1]) | fabs < 1e-4)' \
        >/dev/null || fail "$flags"
done
"$BRIDGE" import "$model" --megatron-path megatron --no-sync --quiet >/dev/null
expect 0 score --megatron-path megatron --input-ids "$long" "${f32[@]}" --json
[ "$(jq -c .logprobs "$out")" = "$(cat want)" ] || fail "from Megatron"

expect 0 score "$model" --prompt "Hello there" "${f32[@]}"
says "tokens 5, counted 4, log p -"
says "   the"
sum=$(grep -o 'log p -[0-9.]*' "$out")
printf 'Hello there' >text
expect 0 score "$model" --file text "${f32[@]}"
says "tokens 5, counted 4, $sum"
[ "$(wc -l <"$out")" -le 2 ] || fail "a file's tokens are not listed"
! grep -qw position "$out" || fail "a heading without rows"
expect 0 score "$model" --file text --tokenizer "$data/tokenizer/small" "${f32[@]}"
says "$sum"
"$BRIDGE" score "$model" --file - "${f32[@]}" <text | cmp - "$out" || fail "standard input"
# What a tokenizer puts before a text (Llama's <s>) is there, as in transformers; a rendered chat has it already.
cp -r "$data/tokenizer/small" begins
chmod u+w begins/*
jq '.added_tokens[0] as $t | [{SpecialToken: {id: $t.content, type_id: 0}}, {Sequence: {id: "A", type_id: 0}}] as $text |
    .post_processor = {type: "TemplateProcessing", single: $text, pair: ($text + [{Sequence: {id: "B", type_id: 1}}]),
        special_tokens: {($t.content): {id: $t.content, ids: [$t.id], tokens: [$t.content]}}}' \
    "$data/tokenizer/small/tokenizer.json" >begins/tokenizer.json
first=$(jq '.added_tokens[0].id' "$data/tokenizer/small/tokenizer.json")
expect 0 score "$model" --file text --tokenizer begins "${f32[@]}" --json
json ".ids[0] == $first and (.ids | length) == 6"
cp "$data/chat/chat_template.jinja" begins
cp -r "$model" talks
chmod -R u+w talks
cp "$data/chat/chat_template.jinja" talks
sed -i 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 1024/' talks/config.json
plain=$("$BRIDGE" generate talks --chat --prompt Hello "${f32[@]}" --greedy -N 4 --json | jq -c .ids)
expect 0 generate talks --chat --prompt Hello --tokenizer begins "${f32[@]}" --greedy -N 4 --json
json ".ids == $plain"
expect 0 score "$data/hf/qwen3_tied_bf16" --input-ids 3,4,5 "${f32[@]}" --json
plain=$(jq .logprob "$out")
expect 0 score "$data/hf/qwen3_tied_bf16" --input-ids 3,4,5 "${f32[@]}" --json --adapter "$data/adapters/qwen3_lora"
json ".logprob != $plain"

# longer than the model's 256 positions: windows, of which the first tokens are not counted
for _ in $(seq 120); do printf 'Hello there. '; done >text
expect 0 score "$model" --file text "${f32[@]}" --json
json '(.ids | length) > 512 and .logprobs[256] == null and .logprobs[257] != null and .logprobs[512] == null'
json '.counted == (.logprobs | map(select(. != null)) | length)'

refused() { # STATUS TEXT ARGUMENT...
    expect "$1" score "${@:3}"
    complains "$2"
    mute
}
refused 2 "at least 2 are needed for a score" "$model" --input-ids 1
refused 2 "nothing to read" "$model"
refused 2 "give one of --file, --prompt and --input-ids" "$model" --file text --prompt x
refused 11 "cannot open 'missing'" "$model" --file missing
: >empty
refused 2 "0 tokens; at least 2 are needed for a score" "$model" --file empty
refused 11 "no tokenizer.json" "$data/hf/qwen3_tied_bf16" --file text
refused 2 "outside the vocabulary" "$model" --input-ids 1,512
done_ok
