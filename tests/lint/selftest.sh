# selftest.sh - each lint script must object to a tree with the offence in it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failed=0

# refuses SCRIPT FILE TEXT...: a tree that has only FILE with these lines must not pass.
refuses() {
    local script=$1 file=$2
    shift 2
    rm -rf "$tree"/*
    mkdir -p "$tree/core/include/bridge" "$tree/$(dirname "$file")"
    printf '%s\n' "$@" >"$tree/$file"
    if bash "$here/$script.sh" "$tree" >/dev/null 2>&1; then
        echo "$script accepts $file: $*"
        failed=1
    fi
}

refuses floors core/base/a.c '#include "../model/model.h"'
refuses floors core/format/a.h '#include "../cli/cli.h"'
refuses floors core/include/bridge/a.h '#include "../../base/base.h"'
refuses floors plugins/a/a.c '#include "../../core/base/base.h"'
refuses floors kernels/cpu/a.c '#include "../../core/include/bridge/base.h"'
refuses floors core/base/a.c '#include <cjson/cJSON.h>'
refuses floors core/model/a.c '#include <yaml.h>'
refuses floors core/format/hub.c '#include <curl/curl.h>'
refuses floors core/base/a.c 'void *p = dlopen("x", 2);'
refuses floors core/model/a.c '    printf("x");'
refuses banned core/base/a.c "x = strcp""y(a, b);"
refuses banned tests/unit/a.c "s""printf(a, b);"
refuses banned docs/a.md "TO""DO: later"
refuses banned scripts/a "cd /hom""e/me/bridge"
refuses padded core/include/bridge/a.h 'struct s { int a; long b; };'
refuses padded core/include/bridge/a.h 'struct s { size_t a; };'

# accepts SCRIPT FILE TEXT...: and the right thing must pass.
accepts() {
    local script=$1 file=$2
    shift 2
    rm -rf "$tree"/*
    mkdir -p "$tree/core/include/bridge" "$tree/$(dirname "$file")"
    printf '%s\n' "$@" >"$tree/$file"
    if ! bash "$here/$script.sh" "$tree"; then
        echo "$script refuses $file: $*"
        failed=1
    fi
}
accepts floors core/model/a.c '#include "../base/base.h"' '#include "model.h"' 'snprintf(a, 1, "x");'
accepts floors core/model/registry.c 'void *p = dlopen("x", 2);'
accepts floors plugins/a/a.c '#include <bridge/rules.h>' '#include "../../recipes/a.def"'
accepts banned core/base/a.c 'snprintf(a, 1, "x"); my_strcpy2(a);'
accepts padded core/include/bridge/a.h 'struct s { int a, b; long c; };'
exit "$failed"
