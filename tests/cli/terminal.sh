# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# terminal.sh - what somebody else wrote cannot act on a terminal nor make a line of its own: names in files, texts
# of a model.  JSON and pipes get the exact text.
. "$(dirname "$0")/lib.sh"

# clean FILE...: no control but line breaks, no C1, no bidirectional control.
acts=$'[\x01-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]'
clean() {
    local file
    for file; do
        ! grep -qP -- "$acts" "$file" || fail "controls in $file: $(grep -P -- "$acts" "$file" | head -n 1 | od -c | head -n 8)"
        ! grep -q '^bridge: evil' "$file" || fail "a name makes a line of its own"
    done
}
clean_run() { expect "$@" && clean "$out" "$err"; }

# le64 N: eight bytes, the lowest first.
le64() {
    local i
    for ((i = 0; i < 64; i += 8)); do printf "\\x$(printf %02x $(($1 >> i & 255)))"; done
}
# one_tensor FILE NAME: a safetensors file with one byte, whose name is JSON text.
one_tensor() {
    local header="{\"$2\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"
    { le64 ${#header} && printf '%s' "$header" && printf 'x'; } >"$1"
}
# Escapes of JSON: what a terminal sees is the character.  ESC, CSI, bell, override, isolate, mark, separators.
evil='w\u001b[2J\u009b2J\u0007\u202e\u2066\u200f\u2028\r\nbridge: evil\n  missing: x\u007f'
mkdir named other
one_tensor named/model.safetensors "$evil"
one_tensor other/model.safetensors fine
clean_run 0 inspect named
says 'w\x1b[2J\u009b2J\x07\u202e\u2066\u200f\u2028\r\nbridge: evil\n  missing: x\u007f'
clean_run 0 inspect named --hash
clean_run 0 inspect named --json
printf '"%s"' "$evil" | jq -r . >name
jq -r '.tensors | keys[]' "$out" | cmp - name || fail "JSON is not exact"
clean_run 1 diff named other
clean_run 1 diff named other --json
grep -qF "$(head -n 1 name)" < <(jq -r '.differences[]' "$out") || fail "JSON is not exact"

# errors and warnings: an import that misses and does not know names, strict and not
"$BRIDGE" toy qwen3 -o toy >"$out"
cp toy/config.json named
clean_run 8 import named --megatron-path megatron
complains '\u202e'
complains $'\n  missing: '
clean_run 8 import named --megatron-path megatron --json
json '.error | contains("\u202e")'
clean_run 0 import named --megatron-path lenient --not-strict
complains '\u202e'
cp named/model.safetensors whole
one_tensor named/model.safetensors "$evil\",\"$evil"
clean_run 4 inspect named
mv whole named/model.safetensors
printf '{"model_type": "%s"}' "$evil" >named/config.json
clean_run 6 import named --megatron-path megatron
printf '{"weight_map": {"%s": "%s"}}' "$evil" "$evil" >other/model.safetensors.index.json
rm other/model.safetensors
clean_run 4 inspect other

# names of the file system and of the command line, bytes that are no UTF-8 too
bad=$'d\e[2J\x9b\xe2\x80\xae\nbridge: evil'
cp -r toy "$bad"
clean_run 0 import "$bad" --megatron-path "m$bad"
clean_run 0 verify "$bad" "m$bad"
clean_run 0 export "m$bad" --hf-path "h$bad"
clean_run 0 inspect "$bad"
clean_run 11 inspect "no$bad"
clean_run 2 "$bad"
clean_run 0 plan import "$bad" -v
clean_run 2 generate "$bad" --input-ids "no$bad"
BRIDGE_PLUGIN_PATH=$work/$bad clean_run 0 plugin list
BRIDGE_PLUGIN_PATH=$work/$bad clean_run 0 doctor

# what a model says: exact into a pipe, shown on a terminal
model=$data/hf/qwen3_tiny_chat
printf 'a\x06\e[2J\xe2\x80\xaeb\tc\n' >said
expect 0 tokenize --tokenizer "$model" said
read -r ids <"$out"
expect 0 tokenize --tokenizer "$model" --decode <<<"$ids"
cmp "$out" said || fail "a pipe gets other bytes"
run=(generate "$model" --input-ids 1,2,3 --dtype float32 --threads 2 -N 200 --ignore-eos --temperature 100 -q)
expect 0 "${run[@]}"
grep -qP '[\x00-\x08\x0b-\x1f]' "$out" || fail "the model says no control at all"
if command -v script >/dev/null; then
    # on_terminal ARGUMENT...: bridge with a terminal as stdin and stdout; line breaks as a pipe has them
    on_terminal() {
        printf -v last '%q ' "$BRIDGE" "$@"
        TERM=dumb script -qec "$last" /dev/null </dev/null | tr -d '\r' >"$out"
    }
    printf '%s\n' "$ids" >ids
    on_terminal tokenize --tokenizer "$model" --decode ids
    clean "$out"
    says $'a\\x06\\x1b[2J\\u202eb\tc'
    on_terminal "${run[@]}"
    clean "$out"
    says '\x'
    on_terminal inspect named
    clean "$out"
fi
done_ok
