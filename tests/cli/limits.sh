#!/usr/bin/env bash
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# limits.sh - numbers, sizes and signals: what is too big is refused at once, in bounded memory, and nothing ends
# without a word.
. "$(dirname "$0")/lib.sh"
last=toy
"$BRIDGE" toy qwen3 -o m -q >/dev/null
"$BRIDGE" toy qwen3_moe -o moe -q >/dev/null

# small STATUS ARGUMENT...: the same as expect, within 600 MB of address space; sanitizers need more to start
room=600000
(ulimit -v $room; exec "$BRIDGE" --version) >/dev/null 2>&1 || room=unlimited
small() {
    local want=$1 got=0
    shift
    last=$*
    (ulimit -v $room; exec "$BRIDGE" "$@") >"$out" 2>"$err" || got=$?
    [ "$got" = "$want" ] || fail "exit status $got, expected $want"
}

# more tokens than there are bits for: as many as the context has room for, or a range
expect 2 generate m --input-ids 1 --max-new-tokens 4611686018427387904 -q
complains "expected a whole number from 1 to 2147483647"
expect 0 generate m --input-ids 1 --max-new-tokens 2147483647 --ignore-eos --json
context=$(jq .max_position_embeddings m/config.json)
json ".ids | length == $context"
expect 2 bench m --decode-tokens 9223372036854775807 --prefill-tokens 9223372036854775807
complains "from 1 to 2147483647"
expect 2 bench m --decode-tokens 2147483647 --prefill-tokens 2147483647
complains "max_position_embeddings"

# parallel sizes: 2^32 + 1 is not 1
for option in tp pp ep etp; do
    for n in 4294967296 4294967297 1099511627776 100000 1025; do
        small 2 generate m --input-ids 1 --$option $n
        complains "from 1 to 1024"
    done
done
small 2 generate m --input-ids 1 --tp 1000 --pp 1000
complains "ask for 1000000 ranks, expected 1 to 1024"

# other numbers
expect 2 import m -n --threads 4097
complains "from 0 to 4096"
expect 2 import m -n --iteration 10000000
complains "from 0 to 9999999"
expect 2 download x/y --connections 65
complains "from 1 to 64"

# a configuration that claims more than the weights can hold
for claim in '1000 4096' '1000 200' '60000 1'; do
    read -r layers experts <<<"$claim"
    rm -rf big
    cp -r moe big
    jq ".num_hidden_layers = $layers | .num_experts = $experts" moe/config.json >big/config.json
    small 5 import big --megatron-path x
    grep -qE 'more than any model has|which is far from what the weights hold' "$err" || fail "another message"
done
jq '.num_hidden_layers = 1000 | .num_experts = 4096' moe/config.json >big.json
small 5 plan import --config big.json
"$BRIDGE" import moe --megatron-path td -q >/dev/null
sed -i -E 's/^( *num_layers:).*/\1 1000/; s/^( *num_moe_experts:).*/\1 250/' td/iter_0000000/run_config.yaml
rm td/iter_0000000/bridge_manifest.json td/iter_0000000/common.pt
got=0
(ulimit -v $room; exec "$BRIDGE" export td --hf-path x) >"$out" 2>"$err" || got=$?
case $got in 5 | 8) ;; *) fail "exit status $got for a run_config.yaml that claims 1000 layers" ;; esac

# a file that may not grow: a message, not a signal
got=0
(ulimit -f 10; exec "$BRIDGE" import m --megatron-path x) >"$out" 2>"$err" || got=$?
last="import under ulimit -f"
[ $got = 3 ] || fail "exit status $got, expected 3"
complains "__0_0.distcp': File too large"

# a mapped model that becomes shorter
"$BRIDGE" toy qwen3 -o big2 --set max_position_embeddings=32768 -q >/dev/null
"$BRIDGE" generate big2 --input-ids 1,2,3 --max-new-tokens 30000 --ignore-eos -q >"$out" 2>"$err" &
pid=$!
last="generate while the file is cut"
# It computes from the mapped file when it has it and has used half a second of processor time.
ticks() { awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat" 2>/dev/null || echo 0; }
until grep -q big2/model.safetensors "/proc/$pid/maps" 2>/dev/null && [ "$(ticks)" -ge $(($(getconf CLK_TCK) / 2)) ]; do
    kill -0 $pid 2>/dev/null || fail "it ended before the file was cut"
    sleep 0.02
done
truncate -s 5000 big2/model.safetensors
got=0
wait $pid || got=$?
[ $got = 3 ] || fail "exit status $got, expected 3"
complains "bridge: cannot read 'big2/model.safetensors', which is mapped"
done_ok
