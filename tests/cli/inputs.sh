# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# inputs.sh - inputs are used whole or refused: lists of ids, prompts, a tokenizer that is no file, and a message
# that gives advice which was taken already.
. "$(dirname "$0")/lib.sh"
one_thread
model=$data/hf/qwen3_tiny_chat
f32=(--dtype float32 -N 3)

# ids: each separator stands between two ids, nothing is left unread
refused() {
    local text=$1
    shift
    expect 2 generate "$model" "${f32[@]}" --input-ids "$@"
    complains "$text"
    expect 4 tokenize --tokenizer "$model" --decode <<<"$1"
}
for list in 1,,2 ,1 1, , '1, ,2' '[1,,2]' '[,1]'; do
    refused 'a comma without a token id at byte' "$list"
done
for list in '1,2' '1 2' '[1, 2]' $'[\n1,\n2\n]' '[[1], [2]]'; do
    expect 0 generate "$model" "${f32[@]}" --input-ids "$list" --json
    json '.prompt_tokens == 2'
    expect 0 tokenize --tokenizer "$model" --decode <<<"$list"
done
for text in '1,2\0,3' '\0001,2' '1,2\0'; do
    printf "$text" >ids
    expect 2 generate "$model" "${f32[@]}" --input-ids ids
    complains 'a NUL byte behind byte'
    expect 4 tokenize --tokenizer "$model" --decode ids
    complains 'a NUL byte behind byte'
done

# prompts may hold a NUL byte, as standard input may
printf '\0\nHi\0there\n' >prompts
expect 0 generate "$model" "${f32[@]}" --prompts-file prompts --json
json '.sequences | length == 2 and .[0].prompt_tokens == 1 and .[1].prompt_tokens > 3'
printf '\n\n' >prompts
expect 2 generate "$model" "${f32[@]}" --prompts-file prompts
complains "'prompts' has no prompts"

# a tokenizer that cannot be copied is not left out
expect 0 toy qwen3 -o toy
mkdir toy/README_pictures
expect 0 import toy --megatron-path fine
mkfifo toy/tokenizer.json
expect 4 import toy --megatron-path pipe
complains "'toy/tokenizer.json' is no regular file"
rm toy/tokenizer.json
mkdir toy/tokenizer.json
expect 4 import toy --megatron-path directory
complains "'toy/tokenizer.json' is no regular file"
[ ! -e pipe ] && [ ! -e directory ] || fail "an import without its tokenizer is published"

# weights that overflow whatever the precision: 3.39e38 in the last norm and the output layer
expect 0 toy qwen3 -o big --set torch_dtype=float32 tie_word_embeddings=false
n=$(od -An -tu4 -N 4 big/model.safetensors | tr -d ' ')
head -c $((8 + n)) big/model.safetensors | tail -c "$n" >header
for name in model.norm.weight lm_head.weight; do
    read -r from to < <(jq -r --arg name "$name" '.[$name].data_offsets | "\(.[0]) \(.[1])"' header)
    head -c $((to - from)) /dev/zero | tr '\0' '\177' |
        dd of=big/model.safetensors bs=64k seek=$((8 + n + from)) oflag=seek_bytes conv=notrunc status=none
done
expect 16 generate big --input-ids 1,2 "${f32[@]}"
complains 'the logits are not finite although the weights are, in float32'
expect 16 generate big --input-ids 1,2 --threads 2 --dtype bfloat16
complains 'try --dtype float32'
done_ok
