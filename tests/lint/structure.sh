# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# structure.sh - doors that are used, no tie that runs up, no circle of files, as scripts/structure measures them in
# the objects of the build that BRIDGE_BUILD names.
. "$(dirname "$0")/lib.sh"

if ! table=$(scripts/structure "${BRIDGE_BUILD:?}"); then
    printf '%s\n' "$table"
    offence "a circle, a tie that runs up or a door that too few need"
fi
finish
