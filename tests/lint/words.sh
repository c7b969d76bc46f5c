# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# words.sh - one word, one meaning: words.txt lists what is said otherwise; section banners end within their line; an
# *_impl.h says what it needs and what it defines.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

mapfile -t files < <(find core kernels plugins examples docs scripts tests \( -path tests/data -o -path tests/fuzz/corpus \
    -o -path tests/lint -o -path tests/emulate -o -name __pycache__ \) -prune -o -type f -print 2>/dev/null | sort)
while IFS=$'\t' read -r where pattern instead; do
    case $where in '' | '#'*) continue ;; esac
    mapfile -t some < <(printf '%s\n' "${files[@]}" | grep -E -- "$where" || true)
    [ "${#some[@]}" -gt 0 ] || continue
    while IFS= read -r hit; do
        offence "${hit:0:160}: $instead"
    done < <(grep -HnIE -- "$pattern" "${some[@]}" || true)
done <"$here/words.txt"

# A banner is /* ---- title ---- */ on one line of at most 100 columns.
while IFS= read -r hit; do
    offence "${hit:0:120}: the section banner does not end within the line"
done < <(c_files core kernels plugins examples tests | xargs -r awk '/^[ \t]*\/\* ---- / &&
    (length($0) > 100 || !/ -+ \*\/$/) { print FILENAME ":" FNR ": " $0 }')

for f in $(c_files kernels | grep '_impl\.h$'); do
    for word in Needs Defines; do
        [ -n "$(sed -n "1,20{/$word:/p}" "$f")" ] || offence "$f: the comment on top has no \"$word:\""
    done
done
finish
