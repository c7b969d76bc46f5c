# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# embed.sh - the example that embeds bridge, against an install that was moved, built as docs/embedding.md says: with
# CMake and in one line with the compiler.  Both print what the installed program generates.
. "$(dirname "$0")/lib.sh"
install_moved
cp -r "$source/examples/embed" "$work/embed"
model=$source/tests/data/hf/qwen3_tiny_chat

cmake -S "$work/embed" -B "$work/cmake" -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_C_FLAGS="-std=c11 -Wall -Wextra -Wpedantic -Werror" >"$work/log" 2>&1 &&
    cmake --build "$work/cmake" >>"$work/log" 2>&1 || fail "$(cat "$work/log")"

# The line of the page, word for word.
line=$(sed -n 's/^    \$ \(gcc .*embed\.c.*\)$/\1/p' "$source/docs/embedding.md")
[ -n "$line" ] || fail "docs/embedding.md has no line for gcc"
(cd "$work/embed" && eval "${line/#gcc/$CC -Wall -Wextra -Wpedantic -Werror}") || fail "$line"

export LD_LIBRARY_PATH=$libdir
want=$(bridge generate "$model" --prompt 'Once upon a time' --max-new-tokens 16 --json --device cpu 2>/dev/null |
    jq -r '.ids | map(tostring) | join(",")')
[ -n "$want" ] || fail "bridge generates nothing"
for program in "$work/cmake/embed" "$work/embed/embed"; do
    "$program" "$model" 'Once upon a time' >"$work/out" || fail "$(cat "$work/out")"
    have=$(sed -n 's/^sequence 0: id \([0-9]*\), log p -\{0,1\}[0-9.]*$/\1/p' "$work/out" | paste -sd,)
    [ "$have" = "$want" ] || fail "$program gives $have, the program $want"
    [ "$(grep -c '^sequence 1: ' "$work/out")" -ge 1 ] || fail "no second sequence: $(cat "$work/out")"
    rc=0
    "$program" "$work/none" 'x' >/dev/null 2>"$work/err" || rc=$?
    [ "$rc" = 1 ] && grep -q '^embed: .*none' "$work/err" || fail "exit status $rc: $(cat "$work/err")"
done
echo ok
