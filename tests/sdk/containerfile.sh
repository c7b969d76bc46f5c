# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# containerfile.sh - what Containerfile runs, as far as it can be run without a container: its package list, its
# configuration, and the entry point of the package.
. "$(dirname "$0")/lib.sh"

file=$source/Containerfile
packages=$(cd "$source" && awk '!/^#/ && $2 == "build" { print $1 }' scripts/lib/packages)
grep -qF "awk '!/^#/ && \$2 == \"build\" { print \$1 }' scripts/lib/packages" "$file" || fail "another list of packages"
for package in libedit-dev libcjson-dev ninja-build; do
    grep -qx "$package" <<<"$packages" || fail "the image would lack $package"
done
grep -qF 'cmake --preset release -DBRIDGE_TESTS=OFF' "$file" || fail "it configures otherwise"
cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$CC" -DBRIDGE_TESTS=OFF \
    >"$work/log" 2>&1 || { cat "$work/log" && fail "it does not configure"; }
entry=$(sed -n 's/^ENTRYPOINT \["\(.*\)"\]$/\1/p' "$file")
grep -rq "$(basename "$entry")" "$source/cmake" || fail "the package has no $entry"
echo "ok: containerfile"
