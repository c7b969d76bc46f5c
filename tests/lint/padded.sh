# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# padded.sh - no implicit padding in public structs: a later member could land in it, and old binaries
# would hand over bytes that nobody set.  Also: each public header compiles on its own.  Asks gcc: clang
# lays out, and warns about, only the structs that are used.
. "$(dirname "$0")/lib.sh"

for header in core/include/bridge/*.h; do
    name=$(basename "$header")
    if ! printf '#include <bridge/%s>\n' "$name" |
        gcc -std=c11 -Wall -Wextra -Wpedantic -Wpadded -Werror -Icore/include -c -x c - -o /dev/null; then
        offence "$header: padding, or it needs another header first"
    fi
done
finish
