# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# abi.sh - the public headers may only grow at their ends: plugins and embedders are compiled against them,
# and nobody recompiles those that exist.
#
# abi.txt is what was released, one fact a line, in the order of the headers:
#
#   struct NAME SIZE fixed|grows     grows: its size travels with it, so members may be appended
#   member STRUCT NAME OFFSET SIZE
#   value NAME NUMBER                an enumerator; the BR_N_ counters are not promised
#   function PROTOTYPE
#   unstable FACT                    of a header that says UNSTABLE: it may change, but not unnoticed
#
# A fact that vanished or changed breaks binaries, unless it is unstable.  A new one must be recorded:
#
#   bash tests/lint/abi.sh . --record
#
# refuses what breaks and writes the rest.  A new struct is `grows` if struct_size is its first member; a row of
# a table, whose size travels beside it, is to be changed to `grows` by hand.
. "$(dirname "$0")/lib.sh"
record=tests/lint/abi.txt
mode=${2:-}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

includes() { [ $# = 0 ] || printf '#include <bridge/%s>\n' "$@"; }

# facts_of FILE: the public declarations that it includes, by a program that prints their facts.
facts_of() {
    gcc -std=c11 -E -P -Icore/include "$1" | awk '
    { text = text " " $0 }

    function print_fact(format, args) { printf "    printf(\"%s\\n\"%s);\n", format, args }

    # The name that a member declaration declares, without what surrounds it.
    function declared(d) {
        if (match(d, /\(\*[a-z0-9_]+\)/)) return substr(d, RSTART + 2, RLENGTH - 3)
        sub(/^.*}/, "", d); gsub(/\[[^]]*\]/, "", d); gsub(/[ *]+/, " ", d); sub(/ $/, "", d)
        return substr(d, match(d, /[a-z0-9_]+$/))
    }
    # A declaration without its __attribute__((...))s.
    function bare(d,    at, i, depth) {
        while (at = index(d, "__attribute__")) {
            i = at + length("__attribute__")
            do { depth += (substr(d, i, 1) == "(") - (substr(d, i, 1) == ")") } while (++i <= length(d) && depth)
            d = substr(d, 1, at - 1) substr(d, i)
        }
        gsub(/ +/, " ", d); sub(/^ /, "", d); sub(/ $/, "", d)
        return d
    }
    function member(owner, name) {
        print_fact("member " owner " " name " %zu %zu", \
                   ", offsetof(struct " owner ", " name "), sizeof(((struct " owner " *)0)->" name ")")
    }
    function structure(owner, body,    i, c, depth, d, n, names, k, first) {
        print_fact("struct " owner " %zu %s", ", sizeof(struct " owner "), \"" \
                   (body ~ /^ *uint32_t struct_size *[;,]/ ? "grows" : "fixed") "\"")
        for (i = 1; i <= length(body); i++) {
            c = substr(body, i, 1)
            depth += (c == "{") - (c == "}")
            if (c != ";" || depth) { d = d c; continue }
            n = d ~ /[({]/ ? 1 : split(d, names, ",")
            if (n == 1) names[1] = d
            for (k = 1; k <= n; k++) member(owner, declared(names[k]))
            d = ""
        }
    }
    function enumeration(body,    n, names, i) {
        n = split(body, names, ",")
        for (i = 1; i <= n; i++) {
            sub(/=.*/, "", names[i]); gsub(/ /, "", names[i])
            if (names[i] ~ /^BR_/ && names[i] !~ /^BR_N_/) print_fact("value " names[i] " %d", ", (int)" names[i])
        }
    }
    function declaration(d,    body) {
        gsub(/[ \t]+/, " ", d); sub(/^ /, "", d)
        body = d; sub(/^[^{]*{/, "", body); sub(/} *$/, "", body)
        if (d ~ /^struct br_[a-z0-9_]+ *{/) {
            sub(/^struct /, "", d); sub(/[ {].*/, "", d); structure(d, body)
        } else if (d ~ /^enum [a-z0-9_]* *{/) enumeration(body)
        else if (d ~ /visibility\("default"\)/) {
            print_fact("function %s", ", \"" bare(d) "\"")
        }
    }
    END {
        print "#include <stddef.h>\n#include <stdio.h>\n#include \"all.h\"\nint main(void)\n{"
        for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            depth += (c == "{") - (c == "}")
            if (c != ";" || depth) { d = d c; continue }
            declaration(d); d = ""
        }
        print "}"
    }' >"$tmp/facts.c"
    gcc -std=c11 -Wno-deprecated-declarations -Icore/include -I"$tmp" "$tmp/facts.c" -o "$tmp/facts"
    "$tmp/facts"
}
headers=$(cd core/include/bridge && echo *.h)
unstable=$(cd core/include/bridge && grep -lx ' \* UNSTABLE: .*' *.h || true)
includes $headers >"$tmp/all.h"
includes $(tr ' ' '\n' <<<"$headers" | grep -vxF "$unstable") >"$tmp/stable.h"
facts_of "$tmp/stable.h" >"$tmp/stable"
facts_of "$tmp/all.h" | awk '
    FILENAME == ARGV[1] { stable[$0] = 1; next }
    { print ($0 in stable ? "" : "unstable ") $0 }' "$tmp/stable" - >"$tmp/now"
: >"$tmp/released"
[ ! -e "$record" ] || cp "$record" "$tmp/released"

# What broke, one line each; then, only if nothing did, the new record into $tmp/next.
awk -v next_file="$tmp/next" '
    function key(  k) { k = $1 " " $2; return $1 == "member" ? k " " $3 : k }
    $1 == "unstable" { # what is new is said below
        if (FILENAME != ARGV[1]) all[++n] = $0
        next
    }
    FILENAME == ARGV[1] {
        old[key()] = $0
        if ($1 == "struct") { size[$2] = $3; grows[$2] = $4 }
        next
    }
    {
        k = $1 == "function" ? $0 : key()
        if ($1 == "struct") {
            if ($2 in size) {
                if (grows[$2] == "fixed" && $3 != size[$2]) print "struct " $2 " is now " $3 " bytes, released as " size[$2] ": callers own it and cannot know"
                if ($3 < size[$2]) print "struct " $2 " shrank from " size[$2] " to " $3 " bytes"
                $4 = grows[$2]
            }
        } else if (k in old) {
            if (old[k] != $0) print "now \"" $0 "\", released as \"" old[k] "\""
        } else if ($1 == "member" && ($2 in size) && $4 < size[$2])
            print "member " $3 " of struct " $2 " is not at its end: it lies at " $4 " of the released " size[$2] " bytes"
        seen[k] = 1; all[++n] = $0
    }
    END {
        for (k in old) {
            split(k, w, " ")
            if (!((w[1] == "function" ? old[k] : k) in seen)) print "gone: " old[k]
        }
        for (i = 1; i <= n; i++) print all[i] > next_file
    }' "$tmp/released" "$tmp/now" | sort >"$tmp/broken"

while read -r line; do
    offence "abi: $line"
done <"$tmp/broken"
if [ "$bad" = 0 ] && ! cmp -s <(sort "$tmp/next") <(sort "$tmp/released"); then
    if [ "$mode" = --record ]; then
        cp "$tmp/next" "$record"
    else
        diff <(sort "$tmp/released") <(sort "$tmp/next") | sed -n 's/^> /new: /p; s/^< unstable /gone: unstable /p'
        offence "abi: new since $record; if it is meant, run: bash tests/lint/abi.sh . --record"
    fi
fi
finish
