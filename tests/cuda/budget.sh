# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# budget.sh SOURCE [--record] - NVIDIA's compiler takes every kernel for every GPU that is shipped, without a warning,
# without a spilled register, and with no more registers and shared memory than budget.txt says.  --record writes that
# file anew.
set -euo pipefail
source=$(realpath "${1:?}")
table=$source/tests/cuda/budget.txt
nvcc=$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")
if [ ! -x "$nvcc" ]; then
    echo "SKIPPED: nvcc is not installed"
    exit 77
fi
"$nvcc" --version | grep 'release 13\.0,' >/dev/null || {
    echo "SKIPPED: '$nvcc' is not of CUDA 13.0, as budget.txt is"
    exit 77
}
out=${BUDGET_OUT:-$(mktemp -d)}
mkdir -p "$out"
[ -n "${BUDGET_OUT:-}" ] || trap 'rm -rf "$out"' EXIT

host=-fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-Wall,-Wextra
flags=(-std=c++17 -O3 -lineinfo -cudart static -Xptxas -v,-warn-spills,-warn-lmem-usage -Werror all-warnings
    -Wdefault-stream-launch -Xcompiler "$host" -I"$source/core/include")
for arch in 80 90 100; do
    flags+=(-gencode "arch=compute_$arch,code=sm_$arch")
done

# kernel <tab> GPU <tab> registers <tab> bytes of shared memory, of what ptxas says.
usage() {
    awk '/Compiling entry function/ { split($0, q, "\047"); name = q[2]; gpu = q[4] }
        /Used [0-9]+ registers/ {
            shared = 0
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^registers/) registers = $(i - 1)
                if ($i == "bytes" && $(i + 1) ~ /^smem/) shared = $(i - 1)
            }
            print name "\t" gpu "\t" registers "\t" shared
        }' "$1" | c++filt | sed 's/^void //; s/([^\t]*)\t/\t/'
}

for file in "$source"/kernels/cuda/*.cu; do
    name=$(basename "$file" .cu)
    if [ ! -s "$out/$name.o" ] || [ "$file" -nt "$out/$name.o" ]; then
        "$nvcc" "${flags[@]}" -c "$file" -o "$out/$name.o" >"$out/$name.log" 2>&1 || {
            grep -v '^ptxas info' "$out/$name.log" >&2
            echo "FAILED: nvcc refuses kernels/cuda/$name.cu" >&2
            exit 1
        }
    fi
    usage "$out/$name.log" | sed "s/^/$name\t/"
done | LC_ALL=C sort >"$out/usage"

if [ "${2:-}" = --record ]; then
    { printf '# What ptxas of CUDA 13.0 gives each kernel: file, kernel, GPU, registers, bytes of shared memory.\n'
        cat "$out/usage"; } >"$table"
    exit 0
fi
# More than the table says, or not in it.
over=$(awk -F'\t' 'NR == FNR { if (!/^#/) { r[$1 FS $2 FS $3] = $4; s[$1 FS $2 FS $3] = $5 } next }
    { k = $1 FS $2 FS $3 }
    !(k in r) { print $1 ".cu: " $2 " (" $3 ") is not in tests/cuda/budget.txt"; next }
    $4 > r[k] || $5 > s[k] { print $1 ".cu: " $2 " (" $3 ") takes " $4 " registers and " $5 " bytes, not " r[k] " and " s[k] }' \
    "$table" "$out/usage")
if [ -n "$over" ]; then
    printf '%s\n' "$over"
    echo "FAILED: the cost of kernels grew; if it shall, record it: bash tests/cuda/budget.sh . --record"
    exit 1
fi
echo "ok: budget of $(wc -l <"$out/usage") kernels"
