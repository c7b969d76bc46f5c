# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# headers.sh - the declarations of include/ agree with those of an installed CUDA toolkit: every constant has the same
# number, every function the same type.  Skipped where there is no toolkit.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
vendor=${CUDA_HOME:-/usr/local/cuda}/include
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
found=0

# constants HEADER: the names that it gives numbers to.
constants() {
    sed -nE 's/^    ([a-zA-Z_0-9]+) = [-0-9x]+,?$/\1/p; s/^ *X\((cuda[A-Za-z]+), .*/\1/p; s/^#define ((cuda|NCCL_(M|P|V|U|S))[A-Za-z_0-9]*) +[-0-9(].*/\1/p' "$1"
    sed -nE 's/^typedef enum.*\{(.*)\}.*/\1/p; s/^enum [a-zA-Z]+ \{(.*)\};.*/\1/p' "$1" | tr ',' '\n' | sed -nE 's/^ *([A-Za-z_0-9]+) = .*/\1/p'
}

# print_values HEADER INCLUDE: "name number" of each.
print_values() {
    {
        echo "#include <stdio.h>"
        echo "#include <$1>"
        echo "int main(void) {"
        constants "$here/include/$1" | sed 's/.*/printf("& %lld\\n", (long long)(&));/'
        echo "return 0; }"
    } >"$work/values.c"
    "${CC:-cc}" -std=c11 -w -I"$2" "$work/values.c" -o "$work/values"
    "$work/values"
}

for header in cuda_runtime_api.h cublasLt.h nccl.h; do
    [ -e "$vendor/$header" ] || continue
    found=1
    print_values "$header" "$here/include" >"$work/ours"
    print_values "$header" "$vendor" >"$work/theirs"
    [ -s "$work/ours" ]
    diff -u "$work/ours" "$work/theirs"
    # Declared twice, a function of another type does not compile.
    {
        echo "#include <$header>"
        sed -nE '/^(cudaError_t|const char \*|cublasStatus_t|size_t|ncclResult_t) ?[a-zA-Z]+\(/,/;/p' "$here/include/$header"
    } >"$work/types.c"
    "${CC:-cc}" -std=c11 -w -I"$vendor" -fsyntax-only "$work/types.c"
    echo "$header: $(wc -l <"$work/ours") constants, $(grep -c ';' "$work/types.c") functions"
done
if [ "$found" = 0 ]; then
    echo "SKIPPED: no CUDA toolkit"
    exit 77
fi
