# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# config_keys.sh - no key of config.json that changes the forward pass is passed over in silence: the engine refuses
# it, a conversion notes it.  The family is tests/modules/keys.c.
. "$(dirname "$0")/lib.sh"
one_thread
plugin=(--plugin "${BRIDGE_BUILD:?}/tests/keys/bridge_keys.so")
[ -e "${plugin[1]}" ] || fail "no ${plugin[1]}"
ids=(--input-ids 5,6,7,8,9,10 --dtype float32)

"$BRIDGE" toy keys "${plugin[@]}" -o toy --quiet >"$out"
# with JQ...: model `odd` is the toy with another config.json
with() {
    rm -rf odd
    cp -r toy odd
    jq "$@" toy/config.json >odd/config.json
}
logits() { "$BRIDGE" logits "$1" "${plugin[@]}" "${ids[@]}" --output "$2" --overwrite --quiet >"$out" 2>"$err" || fail "logits of $1"; }

# as it is: not a word
expect 0 logits toy "${plugin[@]}" "${ids[@]}" --output plain.safetensors
silent
expect 0 import toy "${plugin[@]}" --dry-run --megatron-path m
silent

# each key of the list that has no row here: refused by the engine by name, noted by a conversion that is otherwise the
# same; null and the neutral value are right
list=$(dirname "$0")/../../core/model/config_keys.def
sed -n 's/^CHANGES("\(.*\)", "\(.*\)")$/\1\t\2/p' "$list" | # but facts of this family, and a row of its own
    grep -v '^\(sliding_window\|use_sliding_window\|residual_multiplier\)	' >changes
[ "$(wc -l <changes)" -gt 100 ] || fail "config_keys.def is not read"
while IFS=$'\t' read -r key _; do
    # no row has this value as neutral
    with --arg k "$key" '.[$k] = 7.25'
    expect 12 generate odd "${plugin[@]}" "${ids[@]}" -N 1
    complains "config.json: '$key' is 7.25, which changes the forward pass, and plugin 'keys' does not carry it out"
    mute
done <changes
# all FILTER: every key at once, with the value that jq's filter makes of its neutral one.
all() {
    with --rawfile changes changes '. + ([$changes | split("\n")[] | select(. != "") | split("\t") |
        {key: .[0], value: (.[1] | '"$1"')}] | from_entries)'
}
all 7.25
expect 0 import odd "${plugin[@]}" --dry-run --megatron-path m
complains "the weights are exact"
sed -n "s/^bridge: note: config.json: '\(.*\)' is 7.25, which changes the forward pass.*/\1/p" "$err" | sort >noted
cmp noted <(cut -f 1 changes | sort) || fail "keys that a conversion does not note"
for values in null 'split("|")[0] // null | . as $v | try fromjson catch $v'; do
    all "$values"
    expect 0 generate odd "${plugin[@]}" "${ids[@]}" -N 1 --quiet
    silent
done

# keys that nobody knows: one note, in both
with '.frobnication = 3 | .gargle = {"a": 1}'
for command in "import odd --dry-run --megatron-path m" "generate odd --input-ids 5,6,7 -N 1"; do
    # shellcheck disable=SC2086
    expect 0 $command "${plugin[@]}"
    complains "note: config.json has keys that plugin 'keys' does not know and that are taken for harmless: 'frobnication', 'gargle'"
    [ "$(grep -c frobnication "$err")" = 1 ] || fail "more than one note"
done
with '. + ([range(12) | {key: "x\(.)", value: 1}] | from_entries)'
expect 0 import odd "${plugin[@]}" --dry-run --megatron-path m
complains "'x7' and 4 more"

# the family's own rows
with '.colour = "red" | .residual_multiplier = 1.5'
expect 0 generate odd "${plugin[@]}" "${ids[@]}" -N 1 --quiet
silent
with '.residual_multiplier = 2'
expect 12 generate odd "${plugin[@]}" "${ids[@]}" -N 1
complains "'residual_multiplier' is 2"

# check() reads any key, refuses for both or for running alone
with '.nested = {"list": [1, 2, "three"]}'
expect 0 import odd "${plugin[@]}" --dry-run --megatron-path m
with '.nested = {"list": [1]}'
expect 5 import odd "${plugin[@]}" --dry-run --megatron-path m
complains "nested.list is [1]"
with '.nested = {"word": "refuse"}'
expect 5 import odd "${plugin[@]}" --dry-run --megatron-path m
with '.nested = {"word": "other"}'
expect 12 generate odd "${plugin[@]}" "${ids[@]}" -N 1
complains "config.json: nested.word is not what the builder computes"
expect 0 import odd "${plugin[@]}" --dry-run --megatron-path m
complains "nested.word is not what the builder computes"

# a window that the family states is carried out, whatever Qwen's switch would say
with '.sliding_window = 3'
logits odd window.safetensors
! cmp -s plain.safetensors window.safetensors || fail "a sliding window changes nothing"
with '.sliding_window = 3 | .use_sliding_window = false'
logits odd window2.safetensors
with '.sliding_window = 0'
logits odd none.safetensors
cmp plain.safetensors none.safetensors || fail "a window of 0"
with '.sliding_window = null'
logits odd none.safetensors
cmp plain.safetensors none.safetensors || fail "no window"
with '.sliding_window = 512'
logits odd wide.safetensors
cmp plain.safetensors wide.safetensors || fail "a window as wide as the context"

# families without one, and Qwen's
qwen() { # ARCH KEY=VALUE...
    rm -rf qwen
    "$BRIDGE" toy "$1" -o qwen --quiet --set "${@:2}" >"$out" 2>"$err" || fail "toy $*"
}
qwen qwen3_next sliding_window=3
expect 12 generate qwen "${ids[@]}" -N 1
complains "'sliding_window' is 3"
qwen qwen3_next sliding_window=3 use_sliding_window=false
expect 0 generate qwen "${ids[@]}" -N 1
qwen qwen3 sliding_window=3 use_sliding_window=false 'layer_types=["sliding_attention","full_attention"]'
expect 12 generate qwen "${ids[@]}" -N 1
complains "layer_types has sliding_attention, but there is no window"
qwen qwen3_moe sliding_window=0 use_sliding_window=false
expect 0 import qwen --dry-run --megatron-path m
silent

# ropes: one of each kind of layer, two thetas, members that nobody knows
qwen qwen3 'rope_parameters={"full_attention":{"rope_theta":5000.0}}'
expect 12 generate qwen "${ids[@]}" -N 1
complains "'rope_parameters.full_attention' is {\"rope_theta\": 5000.0}"
qwen qwen3 'rope_scaling={"rope_type":"default","rope_theta":5000.0}'
expect 12 generate qwen "${ids[@]}" -N 1
complains "'rope_scaling.rope_theta' is 5000"
qwen qwen3 'rope_scaling={"rope_type":"default","wobble":1}'
expect 0 generate qwen "${ids[@]}" -N 1
complains "harmless: 'rope_scaling.wobble'"

# YaRN's factor of cos and sin: another one gives other logits, and Megatron has no name for it
yarn='"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":128'
qwen qwen3 "rope_scaling={$yarn}"
expect 0 logits qwen "${ids[@]}" --output a.safetensors
qwen qwen3 "rope_scaling={$yarn,\"attention_factor\":1.0}"
expect 0 logits qwen "${ids[@]}" --output b.safetensors
! cmp -s a.safetensors b.safetensors || fail "attention_factor changes nothing"
expect 0 import qwen --dry-run --megatron-path m
complains "YaRN multiplies cos and sin by 1, Megatron by 1.13863"
qwen qwen3 "rope_scaling={$yarn,\"mscale_all_dim\":0.7}"
expect 0 logits qwen "${ids[@]}" --output c.safetensors
cmp a.safetensors c.safetensors || fail "one mscale alone is no mscale, as in transformers"
done_ok
