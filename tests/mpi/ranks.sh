# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# ranks.sh NAME - logits, score and generate as processes of an MPI (mpich, openmpi): the bits of threads, printed and
# written by rank 0 alone, and one message where something is wrong.
. "$(dirname "$0")/lib.sh"

"$bridge" toy qwen3_moe -o model --quiet >/dev/null
ids=1,5,9,2,7,3,11,4

# Gradients and all: sums over both ranks of a group, and results that each has a part of.
for how in '--tp 2' '--pp 2' '--ep 2 --etp 1'; do
    alone 0 logits model --input-ids $ids $how --grads --hidden-states --dtype float32 -o want.safetensors
    ranks 2 0 logits model --input-ids $ids $how --grads --hidden-states --dtype float32 -o got.safetensors
    [ "$(wc -l <out)" = 2 ] || fail "more than rank 0 prints"
    "$bridge" diff want.safetensors got.safetensors >diff 2>&1 || cmp want.safetensors got.safetensors ||
        fail "$how: other bits than threads: $(head -n 3 diff)"
    rm want.safetensors got.safetensors
done

alone 0 score model --input-ids $ids --tp 2 --json
jq 'del(.warnings, .notes)' out >want
ranks 2 0 score model --input-ids $ids --tp 2 --json
jq 'del(.warnings, .notes)' out | cmp - want || fail 'score has other numbers than threads'

# What is read from standard input, rank 0 has alone.
alone 0 generate model --input-ids $ids -N 5 --pp 2 --json
jq .ids out >want
ranks 2 0 generate model --input-ids $ids -N 5 --pp 2 --json
jq .ids out | cmp - want || fail 'generate goes on otherwise than threads'

# Errors: one message, whoever has it.
ranks 2 11 score nowhere --input-ids 1,2
complains "'nowhere'"
ranks 2 2 score model --input-ids $ids
complains '2 processes were started, and tp, pp, cp, ep ask for 1'
ranks 2 2 score model --input-ids $ids --tp 2 --file x --prompt y
complains 'give one of --file, --prompt and --input-ids'
got=0
timeout 60 "$run" -n 1 "$bridge" score model --input-ids 1,2 --tp 2 : -n 1 "$bridge" score model --input-ids 1,3 --tp 2 >out 2>err || got=$?
[ $got = 2 ] || fail "two command lines: exit status $got"
complains "another command line than that of rank 0"
grep -q "rank 1 (.*, pid [0-9]*): another command line than that of rank 0 (.*): 'score model --input-ids 1,3 --tp 2', and there 'score model --input-ids 1,2 --tp 2'" out err ||
    fail 'the two command lines are not named'

# Another version: the same program, with another number written over its own.  A wrapper (scripts/lib/rank_asan) has none.
version=$("$bridge" --version | cut -d ' ' -f 2)
if [ "$name" = mpich ] && grep -q "$version" "$BRIDGE_BUILD/lib/libbridge.so.1"; then
    mkdir -p other/bin other/lib
    cp "$bridge" other/bin
    cp -rL "$BRIDGE_BUILD/lib/bridge" "$BRIDGE_BUILD/lib/libbridge.so.1" other/lib
    sed -i "s/${version//./\\.}\x00/9${version#?}\x00/" other/lib/libbridge.so.1
    if other/bin/bridge --version >out 2>err && grep -q "^bridge 9${version#?}" out; then
        got=0
        timeout 60 "$run" -n 1 "$bridge" score model --input-ids 1,2 --tp 2 : -n 1 other/bin/bridge score model --input-ids 1,2 --tp 2 >out 2>err || got=$?
        [ $got = 2 ] || fail "two versions: exit status $got"
        complains 'another version of bridge than that of rank 0'
        grep -q "^bridge: rank 1 (.*, pid [0-9]*): .*: 'bridge 9${version#?}.*', and there 'bridge $version" out err || fail 'the two versions are not named'
    elif [ "$(head -c 2 "$bridge")" != '#!' ]; then
        fail 'no copy of bridge has another version'
    fi
fi
echo ok
