# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# lib.sh - what the lint scripts share.  Each is run as `bash NAME.sh SOURCE_FOLDER` and prints one
# line per offence; exit 77 means skipped.
set -euo pipefail
export LC_ALL=C
cd "${1:?usage: $0 SOURCE_FOLDER}"
bad=0

offence() {
    printf '%s\n' "$1"
    bad=1
}

# C files below the given folders; a folder that does not exist has none.
c_files() {
    local dir
    for dir; do
        if [ -d "$dir" ]; then
            find "$dir" -name '*.[ch]' | sort
        fi
    done
}

finish() {
    [ "$bad" = 0 ] && echo "ok: $(basename "$0" .sh)"
    exit "$bad"
}
