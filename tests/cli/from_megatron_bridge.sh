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
done_ok
