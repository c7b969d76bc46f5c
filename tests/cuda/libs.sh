# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# libs.sh SOURCE - every function of kernels/cuda/libs.def is in the vendor's library of that name, where one is
# installed.
set -euo pipefail
def=${1:?}/kernels/cuda/libs.def
seen=0 bad=0 names=$(mktemp)
trap 'rm -f "$names"' EXIT

# find_library FILE: as kernels/cuda/libs.c looks for it.
find_library() {
    local path
    path=$(ldconfig -p | awk -v file="$1" '$1 == file && /x86-64/ { print $NF; exit }')
    [ -n "$path" ] || path=${CUDA_HOME:-/usr/local/cuda}/lib64/$1
    [ ! -e "$path" ] || echo "$path"
}

while IFS=$'\t' read -r lib file; do
    path=$(find_library "$file")
    [ -n "$path" ] || continue
    nm -D --defined-only "$path" | awk '{ sub(/@.*/, "", $NF); print $NF }' | sort -u >"$names"
    while read -r name; do
        seen=$((seen + 1))
        grep -qx "$name" "$names" || {
            echo "FAILED: $path has no $name"
            bad=1
        }
    done < <(sed -n "s/^SYM($lib, \([A-Za-z]*\))$/\1/p" "$def")
done < <(sed -n 's/^LIB(\([a-zA-Z]*\), "\([^"]*\)".*/\1\t\2/p' "$def")
[ "$bad" = 0 ] || exit 1
if [ "$seen" = 0 ]; then
    echo "SKIPPED: neither cuBLASLt nor NCCL is installed"
    exit 77
fi
echo "ok: $seen functions"
