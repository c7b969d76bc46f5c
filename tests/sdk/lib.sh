# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# lib.sh - what the tests of the installed kit share.  They run with BRIDGE_BUILD = the build tree and CC = the
# compiler, and see the sources only to copy what they build.
set -euo pipefail
export LC_ALL=C
: "${BRIDGE_BUILD:?}" "${CC:?}"
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    printf 'FAILED: %s\n' "$*"
    exit 1
}

# Install as a distribution would, under DESTDIR with another prefix, and move the result where no path of the
# build knows it.  Sets kit, libdir, and PATH so that `bridge` is that one.
install_moved() {
    DESTDIR=$work/stage cmake --install "$BRIDGE_BUILD" --prefix /opt/staged >/dev/null
    mv "$work/stage/opt/staged" "$work/kit"
    rm -r "$work/stage"
    kit=$work/kit
    libdir=$(dirname "$(find "$kit" -name libbridge.so)")
    export PATH=$kit/bin:$PATH PKG_CONFIG_PATH=$libdir/pkgconfig CMAKE_PREFIX_PATH=$kit
}

# with_cmake SOURCE: the plugin of that folder by find_package; prints the module.
with_cmake() {
    local build
    build=$work/cmake.$(basename "$1")
    cmake -S "$1" -B "$build" -DCMAKE_C_COMPILER="$CC" -DCMAKE_C_FLAGS="-Wall -Wextra -Wpedantic -Werror" \
        >"$build.log" 2>&1 && cmake --build "$build" >>"$build.log" 2>&1 || { cat "$build.log" >&2 && exit 1; }
    echo "$build"/lib/bridge/1/*.so
}

# with_gcc FILE.c NAME [COMPILER ARGUMENTS]: the same in one line; prints the module.
with_gcc() {
    local out=$work/gcc.$2/bridge_$2.so in=$1
    mkdir -p "$(dirname "$out")"
    shift 2
    "$CC" -std=c11 -shared -fPIC -fvisibility=hidden -Wl,-z,defs -Wall -Wextra -Wpedantic -Werror "$@" "$in" \
        $(pkg-config --cflags --libs bridge) -o "$out"
    echo "$out"
}

# has_docs FOLDER: the folder, share/doc/bridge of a package, holds what the source has for readers, pages that are
# added one day too, and their links hold there.
has_docs() {
    local file link
    for file in LICENSE NOTICE README.md CHANGELOG.md SECURITY.md "$source"/*.md "$source"/docs/*.md; do
        file=${file#"$source"/}
        cmp "$source/$file" "$1/$file" || fail "$1 lacks $file, or has another one"
    done
    [ "$(cd "$1" && find . -name '*.md' | wc -l)" -gt 8 ] || fail "only these pages: $(find "$1" -name '*.md')"
    while IFS=: read -r file link; do
        [ -e "$(dirname "$file")/$link" ] || fail "$file links to $link, which is not there"
    done < <(cd "$1" && find "$PWD" -name '*.md' -exec grep -HoP '\]\(\K(?![a-z]+:)[^)#]+' {} +)
}

# has_completion SHARE ZSH PROGRAM: both files below a package's share/ are what the program prints.
has_completion() {
    "$3" completion bash | cmp - "$1/bash-completion/completions/bridge" || fail "completion for bash"
    "$3" completion zsh | cmp - "$1/$2/_bridge" || fail "completion for zsh"
}
