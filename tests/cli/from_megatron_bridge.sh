# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# from_megatron_bridge.sh - docs/from-megatron-bridge.md: each command and option is one of the program, and sizes are
# those of a plan.
. "$(dirname "$0")/lib.sh"
page=$(dirname "$0")/../../docs/from-megatron-bridge.md
"$BRIDGE" completion bash >completion
n=0
while read -r words; do
    read -r -a w <<<"$words"
    name=${w[1]}
    "$BRIDGE" help "$name ${w[2]:-}" >/dev/null 2>&1 && name="$name ${w[2]}"
    # shellcheck disable=SC2086
    "$BRIDGE" help $name >help 2>"$err" || fail "there is no command '$name' ($words)"
    for option in $(grep -oE -- '--[a-z][a-z_-]*' <<<"$words"); do
        option=${option//_/-}
        grep -qE -- "$option( |$)" help || grep -qE -- "'$name':$option( |\))" completion ||
            fail "'$name' has no $option"
    done
    n=$((n + 1))
done < <(grep -oE '`bridge [a-z][^`]*`' "$page" | tr -d '`')
[ "$n" -ge 15 ] || fail "only $n commands were found"

# the table: two bytes for each parameter of tests/cli/sizes.sh; planned times are at the rate of the measured one
parameters() { # MODEL: those of the row with its hidden size and layers
    awk -v h="$1" -v l="$2" '$3 == h && $5 == l { print $11 }' "$(dirname "$0")/sizes.sh"
}
rate=
n=0
while IFS='|' read -r _ model disk time _ kind _; do
    read -r model <<<"$model"
    case $model in
    Qwen3-8B) p=$(parameters 4096 36) ;;
    Qwen3-30B-A3B) p=$(parameters 2048 48 | head -n 1) ;;
    Qwen3-Next-80B-A3B) p=$(parameters 2048 48 | tail -n 1) ;;
    Qwen3-235B-A22B) p=$(parameters 4096 94) ;;
    *) continue ;;
    esac
    jq -en "($p * 2 / 1e9 - ${disk// GB/}) | fabs < 0.06" >/dev/null || fail "$model has $p parameters, the page says$disk"
    case $time in
    *min*) seconds=$((60 * ${time//[! 0-9]/})) slack=35 ;;
    *) seconds=${time//[!0-9]/} slack=1 ;;
    esac
    [[ $kind = *measured* ]] && [ -z "$rate" ] && rate=$(jq -n "$p * 2 / $seconds")
    echo "$p $seconds $slack $kind" >>rows
    n=$((n + 1))
done <"$page"
[ "$n" = 4 ] || fail "$n rows of the table"
while read -r p seconds slack kind; do
    [ "$kind" = measured ] || jq -en "($p * 2 / $rate - $seconds) | fabs < $slack" >/dev/null ||
        fail "a planned time of $seconds s for $p parameters, at $rate bytes a second"
done <rows
done_ok
