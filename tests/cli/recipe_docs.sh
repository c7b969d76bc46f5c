# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# recipe_docs.sh - docs/recipes.md: every command on the page is run, in order, and prints what stands there.
# A line "..." stands for any lines.
. "$(dirname "$0")/lib.sh"
page=$data/../../docs/recipes.md

# Commands and what follows each, as files 1.cmd, 1.want, 2.cmd ...; an empty line inside a block belongs to the
# output when an indented line follows.
awk '
    /^    \$ / { n++; inside = 1; blank = 0; print substr($0, 7) >(n ".cmd"); printf "" >(n ".want"); next }
    /^    / && inside { for (; blank > 0; blank--) print "" >(n ".want"); print substr($0, 5) >(n ".want"); next }
    /^$/ && inside { blank++; next }
    { inside = blank = 0 }
' "$page"
bridge() { "$BRIDGE" "$@"; }
count=0
for cmd in $(printf '%s\n' ./*.cmd | sort -V); do
    count=$((count + 1))
    last=$(cat "$cmd")
    eval "$last" >"$out" 2>&1 || true
    # turn the wanted text into a regular expression, with "..." as any run of lines
    awk 'NR == FNR { want[++n] = $0; next } { have[++m] = $0 }
        function fits(i, j) {
            while (i <= n && want[i] != "...") { if (j > m || want[i] != have[j]) return 0; i++; j++ }
            if (i > n) return j > m
            for (; j <= m + 1; j++) if (fits(i + 1, j)) return 1
            return 0
        }
        END { exit !fits(1, 1) }' "${cmd%.cmd}.want" "$out" || {
        diff "${cmd%.cmd}.want" "$out" | head -n 20 || true
        fail "the page says otherwise: $last"
    }
done
[ "$count" -ge 12 ] || fail "only $count commands found"
done_ok
