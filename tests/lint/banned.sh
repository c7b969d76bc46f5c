# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# banned.sh - calls that have a safe sibling, unfinished business, and paths of one machine.
. "$(dirname "$0")/lib.sh"

# report WHAT: each line of input is an offence.
report() {
    local hit
    while read -r hit; do
        offence "${hit:0:160}: $1"
    done
}

# The brackets keep this file from finding itself.
calls='strcp[y]|stpcp[y]|strca[t]|strncp[y]|strnca[t]|v?sprint[f]|get[s]|strto[k]|ato[i]|ato[lf]|alloc[a]|mktem[p]|tmpna[m]'
report "banned call" < <(grep -HnE "(^|[^_[:alnum:]])($calls)[[:space:]]*\(" \
    $(c_files core kernels plugins examples tests) /dev/null)

mapfile -t files < <(find . \( -path ./.git -o -path ./build -o -path './build-*' -o -path ./tests/data \
    -o -path ./tests/fuzz/corpus -o -path ./shared \) -prune -o -type f -print | sort)
report "unfinished" < <(grep -HnIE "(^|[^_[:alnum:]])(TO[D]O|FIXM[E]|XX[X])([^_[:alnum:]]|$)" "${files[@]}")
report "a path of one machine" < <(grep -HnIE "(^|[^_.[:alnum:]])/(wor[k]|hom[e]|roo[t]|User[s])/" "${files[@]}")
finish
