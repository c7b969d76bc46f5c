# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# libpage.sh - run_page: the commands of a page of documentation are run, and must print what stands there.
#
# A command is a line that begins with four blanks and "$ "; the lines indented below it are what it prints on stdout
# and stderr, in order.  A line "..." stands for any lines, "..." at the end of a line for its rest; notes are not
# shown.  A command fails if, and only if, the page shows its error ("bridge: ...", warnings apart).
# The file that sources this one defines `fail`, and has bridge in PATH.

# program_in_path: makes `bridge` the program of cli/lib.sh, $BRIDGE.
program_in_path() {
    mkdir -p "$work/.bin"
    printf '#!/bin/sh\nexec %q "$@"\n' "$BRIDGE" >"$work/.bin/bridge"
    chmod +x "$work/.bin/bridge"
    PATH=$work/.bin:$PATH
}

# What differs from run to run is made equal on both sides; a test may define its own.
page_filter() { cat; }

# What a process takes beside its weights depends on the kernels of the processor.
hide_activations() {
    sed -E '/^one process of bridge train/,/^$/ s/^(  (activations|total) +)[0-9.]+ GiB$/\1N GiB/'
}

# page_fits WANT HAVE: do these files agree?
page_fits() {
    awk '
        NR == FNR { want[++n] = $0; next }
        { have[++m] = $0 }
        function same(w, h,    k) {
            k = length(w) - 3
            return w == h || (k >= 0 && substr(w, k + 1) == "..." && substr(h, 1, k) == substr(w, 1, k))
        }
        function fits(i, j) {
            for (; i <= n && want[i] != "..."; i++ && j++) if (j > m || !same(want[i], have[j])) return 0
            if (i > n) return j > m
            for (; j <= m + 1; j++) if (fits(i + 1, j)) return 1
            return 0
        }
        END { exit !fits(1, 1) }' "$1" "$2"
}

# run_page FILE N: all of its commands, of which there are at least N, in the current folder.
run_page() {
    local steps command i rc count=0
    steps=$(mktemp -d "$work/page.XXXXXX")
    awk -v dir="$steps" '
        /^    \$ / { n++; inside = 1; blank = 0; print substr($0, 7) >(dir "/" n ".cmd"); printf "" >(dir "/" n ".want"); next }
        /^    / && inside { for (; blank > 0; blank--) print "" >(dir "/" n ".want"); print substr($0, 5) >(dir "/" n ".want"); next }
        /^$/ && inside { blank++; next }
        { inside = blank = 0 }' "$1"
    for ((i = 1; ; i++)); do
        [ -e "$steps/$i.cmd" ] || break
        command=$(page_filter <"$steps/$i.cmd") rc=0
        bash -c "$command" >"$steps/all" 2>&1 </dev/null || rc=$?
        { grep -v '^bridge: note: ' "$steps/all" || true; } | page_filter | hide_activations >"$steps/have"
        page_filter <"$steps/$i.want" | hide_activations >"$steps/want"
        page_fits "$steps/want" "$steps/have" ||
            fail "$(basename "$1"): '$command' prints otherwise: $(diff "$steps/want" "$steps/have" | head -n 20)"
        if grep -v '^bridge: warning: ' "$steps/want" | grep -q '^bridge: '; then
            [ "$rc" != 0 ] || fail "$(basename "$1"): '$command' does not fail"
        else
            [ "$rc" = 0 ] || fail "$(basename "$1"): '$command' has exit status $rc"
        fi
        count=$i
    done
    [ "$count" -ge "$2" ] || fail "$(basename "$1") has only $count commands"
}
