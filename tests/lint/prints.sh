# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# prints.sh - what core/cli prints goes through output.c, which escapes what somebody else wrote.  Elsewhere only
# literals are printed directly; help and completion print nothing but the program's own tables.
. "$(dirname "$0")/lib.sh"

while read -r hit; do
    offence "${hit:0:160}: goes round br__say, br__print_safe and br__print_model_text"
done < <(grep -HnE '(^|[^_[:alnum:]])(v?f?printf|dprintf|fwrite|write|perror|f?puts|f?putc|putchar)[[:space:]]*\(' \
    $(c_files core/cli | grep -vE '^core/cli/(output|help|cmd_completion)\.c$') /dev/null |
    grep -vE "f?puts\(\"([^\"\\\\]|\\\\.)*\"[,)]|f?putc\('.*', |putchar\('")
finish
