# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# new.sh - `bridge plugin new` from each plugin of the install: what it writes is the same tables, builds without a
# warning, passes its checks and its own test at once, by CMake and by one gcc line.
. "$(dirname "$0")/lib.sh"
install_moved
cd "$work"

# tables PLUGIN: what a plugin says, without what must differ.
tables() {
    bridge plugin show "$1" --json | jq -S '.architectures[0] | {config, maps, ignore, toy, runs}'
}

for from in qwen2 qwen3 qwen3_moe qwen3_next; do
    name=my_$from
    bridge plugin new "$name" --from "$from" >log || fail "$(cat log)"
    grep -q "^next: cmake -S $name" log || fail "$(cat log)"
    plugin=$(with_gcc "$name/$name.c" "$name")
    tables "$from" >want
    tables "$plugin" >have
    cmp want have || fail "$name has other tables than $from: $(diff want have)"
    bridge plugin check "$plugin" >check || fail "$(cat check)"
    ! grep -qv '^ok ' check || fail "$(cat check)"
    # The builder that was written is the family's own: on a toy of the same weights, the same bytes.
    bridge toy "$from" -o "toy.$from" >/dev/null
    bridge toy "$name" --plugin "$plugin" -o "toy.$name" >/dev/null
    cmp "toy.$from/model.safetensors" "toy.$name/model.safetensors"
    bridge logits "toy.$from" --input-ids 1,2,3,4,5,6,7 --hidden-states -q -o want.safetensors --overwrite >/dev/null
    bridge logits "toy.$name" --plugin "$plugin" --input-ids 1,2,3,4,5,6,7 --hidden-states -q -o have.safetensors \
        --overwrite >/dev/null
    cmp want.safetensors have.safetensors || fail "$name does not compute what $from does"
    # Both fit its checkpoint's names; without a config.json the plugin that was named decides.
    bridge import "toy.$name" --plugin "$plugin" --megatron-path "mc.$name" >/dev/null
    rm "mc.$name"/iter_0000000/bridge_manifest.json
    bridge export "mc.$name" --plugin "$plugin" --hf-path "back.$name" >log 2>&1 || fail "$(cat log)"
    jq -e --arg type "$name" '.model_type == $type' "back.$name/config.json" >/dev/null || fail "$name became another"
    [ "$(bridge plugin show "$plugin" --json | jq -r '.architectures[0] | .model_type + " " + .class')" = \
        "$name $(sed 's/_\(.\)/\u\1/g; s/^./\u&/' <<<"$name")ForCausalLM" ] || fail "$name is called something else"
done
# The default is qwen3, and groups of rules.h are found again.
bridge plugin new by_default -o elsewhere --json | jq -e '.from == "qwen3" and .path == "elsewhere"' >/dev/null ||
    fail "no JSON"
grep -q '^    BR_RULES_QK_NORM,$' elsewhere/by_default.c || fail "the rules are not grouped: $(cat elsewhere/by_default.c)"
# From a file, and from a plugin that is itself a stranger.
llama=$(with_gcc "$source/examples/llama/llama.c" llama)
bridge plugin new my_llama --from "$llama" >log
tables "$llama" >want
tables "$(with_gcc my_llama/my_llama.c my_llama)" >have
cmp want have || fail "my_llama has other tables than llama: $(diff want have)"

# The folder's own build and test, as the last line of the output says.
eval "$(sed -n 's/^next: //p' log)" >ctest.log 2>&1 || fail "$(cat ctest.log)"
grep -q '100% tests passed, 0 tests failed out of 1' ctest.log || fail "$(cat ctest.log)"
sh my_llama/test.sh my_llama/build/lib/bridge/1/bridge_my_llama.so >test.log || fail "$(cat test.log)"
grep -q '^equal: ' test.log && grep -qi 'logits' test.log || fail "the test compares nothing: $(cat test.log)"
# It can fail.
sed 's/^    BR_RULES_GLU,$/&\n&/' my_llama/my_llama.c >bad.c
bad=$(with_gcc bad.c my_llama)
! sh my_llama/test.sh "$bad" >test.log 2>&1 || fail "a plugin with two claims on one name passes"

# refuses STATUS WORDS ARGUMENTS...
refuses() {
    local want=$1 words=$2 rc=0
    shift 2
    bridge plugin new "$@" >log 2>&1 || rc=$?
    [ "$rc" = "$want" ] || fail "plugin new $*: exit status $rc, expected $want"
    grep -qF -- "$words" log || fail "plugin new $*: $(cat log)"
}
refuses 9 "'my_llama' exists; give another folder with --output-dir" my_llama
refuses 9 "plugin 'qwen3' ($libdir/bridge/1/bridge_qwen3.so) serves model_type 'qwen3' already" qwen3
refuses 2 "'Olmo-3' is no plugin name; expected at most 48 of a-z, 0-9 and _, first a letter" Olmo-3
refuses 2 "'3olmo' is no plugin name" 3olmo
refuses 2 "is no plugin name" "$(printf 'a%.0s' {1..49})"
refuses 11 "no plugin 'qwen9'; found: " mine --from qwen9
refuses 2 "'plugin new' needs NAME"
[ ! -e qwen3 ] && [ ! -e mine ] || fail "a refused command left a folder"
echo ok
