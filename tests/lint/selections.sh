# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# selections.sh - every line of "touched X, run Y" in tests/README.md selects tests of this build.
. "$(dirname "$0")/lib.sh"
# Sanitizers have fewer tests.
[ -n "${BRIDGE_BUILD:-}" ] && [ -z "${BRIDGE_SANITIZE:-}" ] || exit 77

selections=$(sed -n "s/^    .*  \(-[LR]\) '\{0,1\}\([^']*\)'\{0,1\}$/\1 \2/p" tests/README.md)
[ "$(wc -l <<<"$selections")" -ge 10 ] || offence "tests/README.md: fewer than 10 selections"
while read -r flag regex; do
    [ "$regex" != cuda ] || [ -d "$BRIDGE_BUILD/cudasim" ] || continue # gcc on x86-64 only
    n=$(ctest --test-dir "$BRIDGE_BUILD" -N "$flag" "$regex" | sed -n 's/^Total Tests: //p')
    [ "${n:-0}" -gt 0 ] || offence "tests/README.md: $flag '$regex' selects no test"
    # Each word of (a|b|c) as well: a name that is gone would not be missed.
    for word in $(sed -n 's/.*(\(.*\)).*/\1/p' <<<"$regex" | tr '|' ' '); do
        n=$(ctest --test-dir "$BRIDGE_BUILD" -N "$flag" "${regex%%(*}$word" | sed -n 's/^Total Tests: //p')
        [ "${n:-0}" -gt 0 ] || offence "tests/README.md: '$word' of $flag '$regex' selects no test"
    done
done <<<"$selections"
finish
