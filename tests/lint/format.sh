# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# format.sh - .clang-format decides on C files and headers; tests/emulate follows SIMDe.  Versions of the
# tool disagree with each other, so only the one of Debian 12 is asked.
. "$(dirname "$0")/lib.sh"

tool=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$tool" ] || ! "$tool" --version | grep -q 'version 14\.'; then
    echo "SKIPPED: clang-format 14 is not installed"
    exit 77
fi
"$tool" --dry-run -Werror $(c_files core kernels plugins examples tests | grep -v "^tests/emulate/") || bad=1
finish
