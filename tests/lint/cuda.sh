# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# cuda.sh - kernels are plain C++ and the words of gpu.cuh, so that the simulated device compiles them as well; the format
# of .cu and .cuh files.
. "$(dirname "$0")/lib.sh"

mapfile -t files < <(find kernels/cuda -name '*.cu' -o -name '*.cuh' | sort)
while IFS= read -r hit; do
    offence "$hit: CUDA's own words belong into kernels/cuda/gpu.cuh"
done < <(grep -HnE '(^|[^_[:alnum:]])(asm|__[a-z][a-z0-9_]*|atomic(Add|CAS|Max|Min|Exch))[^_[:alnum:]]|<<<' \
    $(printf '%s\n' "${files[@]}" | grep -v '/gpu\.cuh$') /dev/null | cut -d: -f1,2)
for f in "${files[@]}"; do
    head -n 1 "$f" | grep -q '^/\* Copyright 2026 The bridge authors\. SPDX-License-Identifier: Apache-2\.0 \*/$' ||
        offence "$f: the first line is not the licence's"
done
if [ "${#files[@]}" -gt 0 ] && command -v clang-format-14 >/dev/null; then
    clang-format-14 --dry-run -Werror "${files[@]}" || bad=1
fi
finish
