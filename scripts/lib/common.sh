# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# common.sh - what the scripts share: sourced, never run.  Leaves the shell in the source folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() {
    printf '\n== %s\n' "$*"
}

# median_of FILE: of the numbers in it, one a line.
median_of() {
    sort -g "$1" | awk '{ v[NR] = $1 } END { m = int((NR + 1) / 2); print NR % 2 ? v[m] : (v[m] + v[m + 1]) / 2 }'
}

# Run as root, with sudo if need be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "this needs root or sudo: $*" >&2
        exit 1
    fi
}

# missing_packages USE...: those of scripts/lib/packages that one of the uses names and that are not installed.
missing_packages() {
    local use package needed_by
    while read -r package needed_by; do
        for use; do
            if [ "$needed_by" = "$use" ] &&
                ! dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed; then
                echo "$package"
            fi
        done
    done < <(grep -v '^#' scripts/lib/packages)
}

# install_packages USE...: touches apt only if some are missing, so a machine that has them needs neither root nor
# network.
install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    if [ "${#missing[@]}" -gt 0 ]; then
        say "installing ${missing[*]}"
        as_root apt-get -qq update
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install --no-install-recommends -y "${missing[@]}"
    fi
}

# build PRESET: configure and compile into build/PRESET.
build() {
    say "building $1"
    cmake --preset "$1"
    cmake --build --preset "$1"
}

# run_tests PRESET [ctest arguments]: ends with ctest's own summary.  $tests_under may be a command and its arguments that
# run ctest.  One test more than CPUs, since some wait.
run_tests() {
    local preset=$1
    shift
    say "testing $preset"
    ${tests_under:-} ctest --preset "$preset" -j $(($(nproc) + 1)) "$@"
}
