#!/usr/bin/env bash
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# race.sh - two processes at once with one destination: imports, exports, --overwrite, iterations.  Each ends with
# status 0, 9 (exists) or 14 (in use), what is there afterwards is whole and of one that ended with 0, and nothing is
# left over.  BRIDGE_RACE_ROUNDS=200 for more rounds.
. "$(dirname "$0")/lib.sh"
rounds=${BRIDGE_RACE_ROUNDS:-30}
seed=${SEED:-$RANDOM}
RANDOM=$seed
echo "pairs by SEED=$seed"

"$BRIDGE" toy qwen3 -o m >/dev/null
"$BRIDGE" toy qwen3 -o m2 --seed 1 >/dev/null
"$BRIDGE" import m --megatron-path src -q

# job NAME: the arguments of bridge.
job() {
    case $1 in
    bf16) echo "export ../src --hf-path h" ;;
    fp32) echo "export ../src --hf-path h --torch-dtype float32 --overwrite" ;;
    fp16) echo "export ../src --hf-path h --torch-dtype float16 --overwrite" ;;
    first) echo "import ../m --megatron-path td" ;;
    first2) echo "import ../m2 --megatron-path td --overwrite" ;;
    fifth) echo "import ../m --megatron-path td --iteration 5 --overwrite" ;;
    fifth2) echo "import ../m2 --megatron-path td --iteration 5 --overwrite" ;;
    release) echo "import ../m --megatron-path td --release --overwrite" ;;
    esac
}
exports=(bf16 fp32 fp16)
imports=(first first2 fifth fifth2 release)
for name in "${exports[@]}" "${imports[@]}"; do
    mkdir "ref-$name"
    (cd "ref-$name" && "$BRIDGE" $(job "$name") -q --no-sync >/dev/null) || fail "$name alone"
done
declare -A iter=([first]=iter_0000000 [first2]=iter_0000000 [fifth]=iter_0000005 [fifth2]=iter_0000005 [release]=release)
declare -A tracker=([first]=0 [first2]=0 [fifth]=5 [fifth2]=5 [release]=release)

# is_whole NAMES...: what is there is a result of one of them.
export_is() {
    local name
    for name; do
        [ "$name" = none ] && [ ! -e there/h ] && return 0
        diff -r there/h "ref-$name/h" >/dev/null 2>&1 && return 0
    done
    return 1
}
import_is() {
    local dir name ok
    for dir in there/td/iter_* there/td/release; do
        [ -e "$dir" ] || continue
        ok=0
        for name; do
            [ "$name" != none ] && [ "${iter[$name]}" = "${dir##*/}" ] &&
                diff -r "$dir" "ref-$name/td/${iter[$name]}" >/dev/null 2>&1 && ok=1
        done
        [ $ok = 1 ] || return 1
    done
    for name; do
        [ "$name" = none ] && [ ! -e there/td ] && return 0
        [ "$name" != none ] && [ "$(cat there/td/latest_checkpointed_iteration.txt)" = "${tracker[$name]}" ] || continue
        if [ "$name" = release ]; then
            [ ! -e there/td/latest_train_state.pt ] && return 0
        else
            cmp -s there/td/latest_train_state.pt "ref-$name/td/latest_train_state.pt" && return 0
        fi
    done
    return 1
}

both=0
for ((i = 0; i < rounds; i++)); do
    if ((RANDOM % 2)); then kind=export pool=("${exports[@]}"); else kind=import pool=("${imports[@]}"); fi
    a=${pool[RANDOM % ${#pool[@]}]} b=${pool[RANDOM % ${#pool[@]}]} before=none
    rm -rf there
    mkdir there
    if ((RANDOM % 3)); then
        before=${pool[RANDOM % ${#pool[@]}]}
        cp -a "ref-$before/." there/
    fi
    (cd there && exec "$BRIDGE" $(job "$a") -q --no-sync >/dev/null 2>"$work/a.err") & one=$!
    if ((RANDOM % 2)); then sleep "0.0$((RANDOM % 5))"; fi
    (cd there && exec "$BRIDGE" $(job "$b") -q --no-sync >/dev/null 2>"$work/b.err") & two=$!
    ra=0 rb=0
    wait $one || ra=$?
    wait $two || rb=$?
    last="round $i: from $before, $a ($ra) and $b ($rb)"
    for r in $ra $rb; do
        [[ $r = 0 || $r = 9 || $r = 14 ]] || fail "status $r: $(cat a.err b.err)"
    done
    winners=()
    [ $ra != 0 ] || winners+=("$a")
    [ $rb != 0 ] || winners+=("$b")
    # An iteration that neither wrote stays; a destination that neither wrote is as before.
    if [ $kind = import ] || [ ${#winners[@]} = 0 ]; then winners+=("$before"); fi
    [ ${#winners[@]} -lt 2 ] || both=$((both + 1))
    "${kind}_is" "${winners[@]}" || fail "what is there is no result of ${winners[*]}: $(find there | sort | tr '\n' ' ')"
    left=$(find there -name '.bridge*' -o -name '.*bridge-*' -o -name '*.tmp')
    [ -z "$left" ] || fail "left over: $left"
done
echo "$rounds rounds"
done_ok
