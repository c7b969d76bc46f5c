# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# data.sh - data build, merge and inspect: Megatron's token files from texts.
. "$(dirname "$0")/lib.sh"
tok=$data/tokenizer/small
golden=$data/data
same() { cmp "$1.bin" "$golden/$2.bin" && cmp "$1.idx" "$golden/$2.idx" || fail "$1 is not $2"; }

# What Megatron's builder wrote for the same documents, whatever the number of threads.
for workers in 1 3; do
    expect 0 data build "$golden/a_uint16.jsonl" --tokenizer "$tok" --eod-token '<|endoftext|>' -o a --workers $workers --overwrite
    says "24 documents, 2176 tokens; 1 without tokens were left out"
    same a a_uint16
done
expect 0 data build "$golden/b_int32.jsonl" --tokenizer "$tok" --eod-token 486 --dtype int32 -o b --json
json '.documents == 18 and .tokens == 3112 and .empty == 1 and .bad == 0 and .bytes > 0'
same b b_int32
expect 0 data build "$golden/c_uint16_small.jsonl" --hf-model "$tok" --eod-token '<|endoftext|>' -o c
same c c_uint16_small
expect 0 data merge a c.idx -o e
same e e_merged
expect 0 data build "$golden/a_uint16.jsonl" "$golden/c_uint16_small.jsonl" --tokenizer "$tok" --eod-token 486 -o ac
same ac e_merged
expect 0 data inspect e.bin --json
json '.dtype == "uint16" and .documents == 28 and .tokens == 2303 and .largest_id == 486 and .shortest == 2'
expect 0 data inspect "$golden/d_multi"
says "3 documents, 4 sequences, 9 tokens"
says "1 empty documents"

# --append-eod alone takes the tokenizer's own end of text.
expect 0 data build "$golden/c_uint16_small.jsonl" --tokenizer "$tok" --append-eod -o eos
expect 0 data inspect eos --json
json '.largest_id == 488 and .tokens == 127'

# Several keys, text files and Parquet.
printf '{"title": "one", "text": "a b c"}\n\n{"text": "d", "other": [1], "title": "two"}\n' >keys.jsonl
expect 0 data build keys.jsonl --tokenizer "$tok" --json-keys title,text -o keys
expect 0 data inspect keys_title --json
json '.documents == 2'
[ -e keys_text.idx ] || fail "keys_text.idx"
jq -r 'select(.text) | .text' "$golden/a_uint16.jsonl" >book.txt
for ((i = 0; i < 100; i++)); do cat book.txt; done >long.txt
expect 0 data build long.txt --tokenizer "$tok" -o book
expect 0 data inspect book --json
json '.documents == 1 and .sequences == 1'
jq .tokens "$out" >got
"$BRIDGE" tokenize --tokenizer "$tok" --count long.txt >want
cmp got want || fail "tokens of a long text"
expect 0 data build "$golden/flat_snappy.parquet" --tokenizer "$tok" --skip-bad-records -o rows
complains "row 3: "
says "64 documents"
jq -c '.flat_snappy[] | select(.text) | {text}' "$golden/parquet.json" >rows.jsonl
expect 0 data build rows.jsonl --tokenizer "$tok" -o lines
cmp rows.bin lines.bin || fail "Parquet and JSONL differ"

# Memory does not grow with the input: a JSONL that is larger than all memory a build may take for data (ulimit -d) is
# built; a twelfth of that memory is too little for anything.
sanitized=$(sed -n 's/^BRIDGE_SANITIZE:[A-Z]*=//p' "$BRIDGE_BUILD/CMakeCache.txt")
if [ -z "$sanitized" ]; then
    awk 'BEGIN { for (i = 0; i < 16000; i++) { printf "{\"text\": \"%d", i
        for (k = 0; k < 1000; k++) printf " a b c d"; print "\"}" } }' >large.jsonl
    [ "$(wc -c <large.jsonl)" -gt 128000000 ] || fail "the file is not large"
    (ulimit -d 98304 && exec "$BRIDGE" data build large.jsonl --tokenizer "$tok" -o large --workers 2 --quiet) ||
        fail "a build of 128 MB takes more than 96 MiB"
    expect 0 data inspect large --json
    json '.documents == 16000'
    # Several batches, of which one is read, one tokenised and one written at a time: what files of one batch each give.
    head -n 1300 large.jsonl >many.jsonl
    split -l 260 many.jsonl part-
    for part in part-*; do
        mv "$part" "$part.jsonl"
        expect 0 data build "$part.jsonl" --tokenizer "$tok" -o "$part" --workers 1
    done
    expect 0 data merge part-a[a-z].bin -o parts
    for workers in 1 3; do
        expect 0 data build many.jsonl --tokenizer "$tok" -o many --workers $workers --overwrite
        cmp many.bin parts.bin && cmp many.idx parts.idx || fail "$workers workers: another order of documents"
    done
    rm part* many*
    (ulimit -d 8192 && exec "$BRIDGE" data build large.jsonl --tokenizer "$tok" -o small --workers 2 --quiet) 2>"$err" &&
        fail "8 MiB are enough: the limit is none"
    complains "out of memory"
    rm large.*
fi

# All or nothing, and what is wrong is said.
expect 9 data build keys.jsonl --tokenizer "$tok" -o a
complains "'a.idx' exists; --overwrite replaces it"
printf '{"text": "a"}\n{"text": 1}\n' >bad.jsonl
expect 4 data build bad.jsonl --tokenizer "$tok" -o bad
complains "bad.jsonl, line 2: "
[ -z "$(ls bad.* | grep -v jsonl || true)" ] || fail "a failed build leaves files"
expect 0 data build bad.jsonl --tokenizer "$tok" --skip-bad-records -o bad
complains "bad.jsonl, line 2: "
says "1 documents, 1 tokens; 1 bad records were left out"
printf '{"no": "text"}\n' >none.jsonl
expect 4 data build none.jsonl --tokenizer "$tok" -o none
complains 'none.jsonl, line 1: the record has no member "text"'
: >empty.jsonl
expect 4 data build empty.jsonl --tokenizer "$tok" -o none
complains "no document with tokens"
expect 11 data build absent.jsonl --tokenizer "$tok" -o none
complains "absent.jsonl"
expect 2 data build keys.jsonl --tokenizer "$tok" --eod-token nothing -o none
complains "'nothing' is no token"
expect 2 data build long.txt --tokenizer "$tok" --json-keys a,b -o none
complains "is a text file"
expect 2 data build keys.jsonl -o none
complains "needs one of --tokenizer"
expect 2 data build keys.jsonl --tokenizer "$tok"
complains "--output"
expect 4 data merge a b -o none
complains "holds int32, but uint16 is expected"
[ ! -e none.idx ] || fail "a failed merge leaves a file"
head -c 100 e.idx >f.idx
cp e.bin f.bin
expect 4 data inspect f
complains "'f.idx': 100 bytes are too few"
done_ok
