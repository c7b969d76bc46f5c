# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# man.sh - the committed manual page is what the program prints; a bare `man` accepts it.
. "$(dirname "$0")/lib.sh"

expect 0 help --man
page=$data/../../docs/bridge.1
cmp "$out" "$page" || fail "docs/bridge.1 is out of date; run: bridge help --man >docs/bridge.1"
if command -v groff >/dev/null; then
    groff -man -Tascii -ww "$out" >rendered 2>"$err"
    silent
    grep -q 'plan import' rendered || fail "the page does not name every command"
fi
done_ok
