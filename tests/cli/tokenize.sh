# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# tokenize.sh - text to ids and back, one input and a line at a time.
. "$(dirname "$0")/lib.sh"
tok=$data/tokenizer/small

# The goldens in bulk, whatever the number of threads.
for threads in 1 3; do
    expect 0 tokenize --tokenizer "$tok" --jsonl --threads $threads "$tok/encode.jsonl"
    jq -c .ids "$out" >got
    jq -c .ids "$tok/encode.jsonl" >want
    cmp got want || fail "ids with $threads threads"
done
expect 0 tokenize --hf-model "$tok" --jsonl --decode "$tok/decode.jsonl"
jq -c '[.text, .text_skip_special]' "$out" >got
jq -c '[.decoded, .decoded_skip_special]' "$tok/decode.jsonl" >want
cmp got want || fail "texts"

# Many batches come out in order.
for ((i = 0; i < 40; i++)); do cat "$tok/encode.jsonl"; done | head -c 12000000 | grep '}$' >many.jsonl
"$BRIDGE" tokenize --tokenizer "$tok" --jsonl <many.jsonl | jq -c .ids | md5sum >got
jq -c .ids many.jsonl | md5sum >want
cmp got want || fail "order of many lines"

# One input.
printf 'Hello <|im_end|>' >text
expect 0 tokenize --tokenizer "$tok" text
cp "$out" ids
expect 0 tokenize --tokenizer "$tok" --decode ids
printf 'Hello <|im_end|>' | cmp - "$out" || fail "there and back"
expect 0 tokenize --tokenizer "$tok" --decode --skip-special ids
printf 'Hello ' | cmp - "$out" || fail "--skip-special"
expect 0 tokenize --tokenizer "$tok" --json text
jq -c .ids "$out" >ids.json
expect 0 tokenize --tokenizer "$tok" --decode --json ids.json
json '.text == "Hello <|im_end|>"'
expect 0 tokenize --tokenizer "$tok" --count text
[ "$(cat "$out")" = "$(jq length ids.json)" ] || fail "--count"
expect 0 tokenize --tokenizer "$tok" --no-added --count --json text
json '.bytes == 16 and .tokens > 10 and .memory_bytes > 0'
: >empty
expect 0 tokenize --tokenizer "$tok" --count empty
[ "$(cat "$out")" = 0 ] || fail "--count of nothing"
expect 0 tokenize --tokenizer "$tok" --jsonl --count "$tok/encode.jsonl"
[ "$(cat "$out")" = "$(jq '.ids | length' "$tok/encode.jsonl" | awk '{ n += $1 } END { print n }')" ] || fail "--jsonl --count"

# Mistakes.
expect 2 tokenize text
complains "--tokenizer DIR"
expect 2 tokenize --tokenizer "$tok" --hf-model "$tok" text
expect 2 tokenize --tokenizer "$tok" --decode --count ids
expect 2 tokenize --tokenizer "$tok" --skip-special text
expect 11 tokenize --tokenizer "$tok" nothing
complains nothing
mkdir none
expect 11 tokenize --tokenizer none text
complains "tokenizer.json"
printf '{"text": "a"}\n{"text": 1}\n' >bad.jsonl
expect 4 tokenize --tokenizer "$tok" --jsonl bad.jsonl
complains "line 2"
says '{"ids": ['
printf '{"texts": "a"}\n' >bad.jsonl
expect 4 tokenize --tokenizer "$tok" --jsonl bad.jsonl
complains 'no member "text"'
printf '{"text": "a", "text": "b"}\n' >bad.jsonl
expect 4 tokenize --tokenizer "$tok" --jsonl bad.jsonl
printf '{"ids": [-1]}\n' >bad.jsonl
expect 4 tokenize --tokenizer "$tok" --jsonl --decode bad.jsonl
complains "-1 is no token id"
printf '12 x' >bad
expect 4 tokenize --tokenizer "$tok" --decode bad
complains "'x' is no token id"
done_ok
