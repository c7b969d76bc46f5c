# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# docs.sh - what the documents say of the tree and the code is so: folders, files, functions, links, libraries, exit
# statuses, environment variables, top-level folders.
. "$(dirname "$0")/lib.sh"
map=docs/architecture.md
pages=(README.md CONTRIBUTING.md docs/*.md)
[ ! -e tests/README.md ] || pages+=(tests/README.md)
sources=$(mktemp)
trap 'rm -f "$sources"' EXIT
find core kernels plugins \( -name '*.[ch]' -o -name '*.def' \) | sort >"$sources"

# section FILE HEADING: the lines below that heading, up to the next one.
section() {
    awk -v heading="$2" '/^#/ { on = $0 == heading; next } on' "$1"
}
# cells N: cell N of the rows of a table on stdin, without its backticks, `a`, `b` as words.
cells() {
    awk -F'|' -v n="$1" '/^\| *`/ { print $(n + 1) }' | tr -d '`,' | sed 's/^ *//; s/ *$//'
}
# code FILE...: what stands in backticks, one a line.
code() {
    cat "$@" | grep -oE '`[^`]+`' | tr -d '`' | sort -u
}
# same WHAT GOT WANT: two lists, one entry a line; each entry that only one has is an offence.
same() {
    local line
    while read -r line; do
        offence "$1: $line"
    done < <(diff <(sort -u <<<"$2") <(sort -u <<<"$3") | sed -n 's/^< /not there: /p; s/^> /not named: /p')
}

# ---- folders ---------------------------------------------------------------------------------------------------

tree=$(find core kernels -name '*.[ch]' ! -path 'core/*/program/*' | sed 's|/[^/]*$||' | sort -u)
named=$(section $map '## Map' | cells 1)
same "$map, folders" "$named" "$tree"
# The order, one level a line, lowest first, is that of tests/lint/levels.
order=$(section $map '## Map' | sed -n 's/^    \([a-z, ]*\)$/\1/p')
levels=$(awk '/^[1-9]/ { all[$1] = all[$1] (all[$1] ? ", " : "") $2; if ($1 > n) n = $1 }
    END { for (i = 1; i <= n; i++) print all[i] }' tests/lint/levels)
[ "$order" = "$levels" ] || offence "$map: the order is not that of tests/lint/levels"

top=$(for dir in */ .ci/; do
    case $dir in build*/ | shared/) ;; *) [ -d "$dir" ] && echo "${dir%/}" ;; esac
done)
layout=$(section CONTRIBUTING.md '## Layout' | sed -n 's/^    \([^ ]*\).*/\1/p' | tr -d ',' | cut -d/ -f1)
same "CONTRIBUTING.md, layout" "$layout" "$top"

# ---- files, functions, identifiers, links ------------------------------------------------------------------------

# Paths in backticks that begin with a folder of the tree; {a,b} and * as in a shell; olmo3 is an example.
while read -r path; do
    [[ $path =~ ^($(tr '\n' '|' <<<"${top//./\\.}")README)/[A-Za-z0-9_./{},*-]+$ ]] || continue
    [[ $path != *olmo3* && ! $path =~ NAME|/(test_)?X\. ]] || continue
    for file in $(eval "echo $path"); do
        [ -e "$file" ] || offence "documents name '$file', which does not exist"
    done
done < <(code "${pages[@]}")

# `function()` in `file`: defined there; `function()` alone and identifiers: somewhere.
while read -r name file; do
    [ -e "$file" ] && grep -qE "^[a-z][^;]*[ *]$name\(|^[a-z].*[ *]BR__FN\($name\)" "$file" ||
        offence "$map: $name() is not defined in $file"
done < <(tr -s ' \n' '  ' <$map | grep -oE '`[a-z0-9_]+\(\)` in `[^`]+`' | tr -d '`' | sed 's/() in / /' | sort -u)
while read -r name; do
    offence "documents name '$name', which the code does not have"
done < <(comm -23 \
    <(code "${pages[@]}" | sed -n 's/^\(struct \|enum \)\?\([A-Za-z_0-9]*\)\(()\)\?$/\2 \1\3/p' |
        awk '/^(br_|BR_)/ || NF > 1 { print $1 }' | sort -u) \
    <(xargs cat <"$sources" | grep -oE '[A-Za-z_][A-Za-z0-9_]*' | sort -u))

for page in "${pages[@]}"; do
    while read -r link; do
        [ -e "$(dirname "$page")/$link" ] || offence "$page: broken link to '$link'"
    done < <(grep -oE '\]\([^)#]+' "$page" | cut -c3- | grep -v '^[a-z]*:')
done

while read -r place; do
    offence "$place: a figure is missing"
done < <(grep -HnF "\`(run" README.md | cut -d: -f1,2)

# ---- libraries ---------------------------------------------------------------------------------------------------

libraries=$(section $map '### Libraries')
same "$map, libraries" "$(cells 2 <<<"$libraries")" \
    "$(sed -n '/pkg_check_modules(BRIDGE_DEPS/,/)/p; /pkg_check_modules(BRIDGE_EDIT/{s/#.*//;p;}' CMakeLists.txt | tr -s ' ()' '\n' | grep -E '^[a-z0-9.-]+$')"
same "$map, Debian packages" "$(cells 3 <<<"$libraries")" \
    "$(awk '$2 == "build" && /-dev / && $1 != "libc6-dev" { print $1 }' scripts/lib/packages)"
while read -r header users; do
    same "$map, users of $header" "$(tr -s ' ' '\n' <<<"$users")" \
        "$(xargs grep -lE "#[[:space:]]*include[[:space:]]*<$header>" <"$sources" || true)"
done < <(paste -d' ' <(cells 1 <<<"$libraries") <(cells 4 <<<"$libraries"))

# ---- exit statuses -------------------------------------------------------------------------------------------------

statuses=$(sed -n 's/^ *X([A-Z_0-9]*, *\([0-9]*\), *"\(.*\)").*/\1 \2/p' core/include/bridge/base.h)
[ "$(wc -l <<<"$statuses")" -ge 19 ] || offence "core/include/bridge/base.h: BR_STATUS_MAP is not understood"
same "docs/conversion.md, exit statuses" \
    "$(section docs/conversion.md '## Exit status' | awk -F'|' '/^\| *[0-9]/ { for (i = 2; i < NF; i += 2) print $i, $(i + 1) }' |
        sed 's/ (.*//' | tr -s ' ' | sed 's/^ //; s/ $//' | grep .)" "$statuses"

# ---- environment variables -----------------------------------------------------------------------------------------

# Read by the product: arguments of getenv and its kin, and lists of names.
read_by_code=$(xargs grep -lE 'getenv\(' <"$sources" | xargs awk '
    FNR == 1 { list = 0 }
    /names\[\] = \{/ { list = 1 }
    { line = $0
      while (match(line, /"[A-Z][A-Z0-9_]+"/)) {
          name = substr(line, RSTART + 1, RLENGTH - 2)
          if (list || substr(line, 1, RSTART - 1) ~ /env(_true)?\($/) print name
          line = substr(line, RSTART + RLENGTH)
      } }
    /\}/ { list = 0 }' | sort -u)
[ -n "$read_by_code" ] || offence "no environment variable found in the code"
text=$(cat "${pages[@]}" | grep -oE '[A-Z][A-Z0-9_]*' | sort -u)
while read -r name; do
    [ "$name" = HOME ] || grep -qx "$name" <<<"$text" || offence "the code reads $name, which no document names"
done <<<"$read_by_code"
# Others are for scripts, tests and CMake.
others=$(find scripts tests .ci cmake CMakeLists.txt -type f ! -path 'tests/data/*' ! -path 'tests/fuzz/corpus/*' \
    ! -path 'tests/lint/*' -print0 | xargs -0 cat | grep -aoE '(BRIDGE|HF|XDG)_[A-Z0-9_]+' | sort -u)
while read -r name; do
    grep -qx "$name" <<<"$read_by_code"$'\n'"$others" || offence "documents name the variable $name, which nothing reads"
done < <(grep -E '^(BRIDGE|HF|HUGGING|HUGGINGFACE|XDG|CURL|REQUESTS|SSL|TRANSFORMERS)_' <<<"$text")
while read -r name; do
    grep -qx "$name" <<<"$read_by_code" || offence "core/cli/help.c explains the variable $name, which the code does not read"
done < <(sed -n '/^} environment\[\]/,/^};/p' core/cli/help.c | grep -oE '[A-Z][A-Z0-9]*_[A-Z0-9_]+|TMPDIR' | sort -u)

finish
