# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# selftest.sh - each lint script must object to a tree with the offence in it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failed=0

# refuses SCRIPT FILE TEXT...: a file with these lines must be named by the script.  All that one script must refuse lie in
# one tree, a file called a under a name of its own.
planted=0
refuses() {
    local script=$1 file=$2
    shift 2
    planted=$((planted + 1))
    [[ ${file##*/} != a* ]] || file=${file%/*}/a$planted${file##*/a}
    mkdir -p "$tree/$script/core/include/bridge" "$tree/$script/$(dirname "$file")"
    [ ! -e "$tree/$script/$file" ] || { echo "two offences in $file" && failed=1; }
    printf '%s\n' "$@" >"$tree/$script/$file"
    printf '%s\t%s\n' "$file" "$*" >>"$tree/$script.planted"
}
# all_refused: what every script says of its tree.
all_refused() {
    local list script file text said=$tree/said
    for list in "$tree"/*.planted; do
        script=$(basename "$list" .planted)
        bash "$here/$script.sh" "$tree/$script" >"$said" 2>&1 && echo "$script accepts everything" && failed=1
        while IFS=$'\t' read -r file text; do
            grep -qF -e "$file" "$said" || { echo "$script accepts $file: $text" && failed=1; }
        done <"$list"
    done
    [ "$planted" -gt 60 ] || { echo "only $planted offences" && failed=1; }
    rm -rf "${tree:?}"/*
}

refuses floors core/base/a.c '#include "../model/model.h"'
refuses floors core/format/a.h '#include "../cli/cli.h"'
refuses floors core/text/tok/a.c '#include "../../hub/hub.h"'
refuses floors core/model/a.c '#include "../base/base_internal.h"'
refuses floors core/model/a.c '#include "../format/torch/torch.h"'
refuses floors core/attic/a.c '#include "../base/base.h"'
refuses floors core/cli/a.c '#include "../../kernels/cpu/cpu.h"'
refuses floors core/include/bridge/a.h '#include "../../base/base.h"'
refuses floors plugins/a/a.c '#include "../../core/base/base.h"'
refuses floors kernels/cpu/a.c '#include "../../core/include/bridge/base.h"'
refuses floors core/base/a.c '#include <cjson/cJSON.h>'
refuses floors core/model/a.c '#include <yaml.h>'
refuses floors core/hub/hub.c '#include <curl/curl.h>'
refuses floors core/base/a.c 'void *p = dlopen("x", 2);'
refuses floors core/model/a.c '    printf("x");'
for call in 'open("a", 0)' 'mkdir(a, 0777)' 'rename(a, b)' 'unlink(a)' 'rmdir(a)' 'symlink(a, b)' 'flock(fd, 2)' \
    'br__io.unlinkat(fd, a, 0)' 'br__io.openat(fd, a, 0, 0)' 'fopen(a, "wb")' 'fopen(a, "re+")'; do
    refuses floors core/model/a.c "    x = $call;"
    refuses floors kernels/cpu/a.c "    $call;"
done
licence='/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */'
for call in '__syncthreads()' '__global__ void f()' 'asm("nop")' 'f<<<1, 2>>>(x)' '__shfl_xor_sync(~0u, x, 1)' 'atomicAdd(p, 1.f)' \
    '__shared__ float a[32]'; do
    refuses cuda kernels/cuda/a.cu "$licence" "$call;"
done
refuses cuda kernels/cuda/a.cu 'int a;'
refuses prints core/cli/a.c '    printf("%s", name);'
refuses prints core/cli/a.c '    fputs(name, stderr);'
refuses prints core/cli/a.c '    fwrite(p, 1, n, stdout);'
refuses prints core/cli/a.c '    fputs(name[0] ? "a" : "b", stdout);'
refuses banned core/base/a.c "x = strcp""y(a, b);"
refuses banned tests/unit/a.c "s""printf(a, b);"
refuses banned docs/a.md "TO""DO: later"
refuses banned scripts/a "cd /hom""e/me/bridge"
refuses words kernels/cpu/team.c '/* Every lane of the team. */'
refuses words core/engine/a.c 'struct br__ready *q;'
refuses words kernels/cpu/tier_impl.h '/* Needs: a.  Defines: b. */' '#include "norm_body.h"'
refuses words core/data/a.c 'static int nomem(struct br_err *err)'
refuses words core/data/a.c 'return br_fail(err, BR_E_NOMEM, "out of memory for a");'
refuses words kernels/cpu/a.c '/* Every thread must come by. */'
refuses words core/base/a.c '/* ---- a banner ----------' ' */'
refuses words core/base/a.c "/* ---- a banner $(printf '%090d' 0 | tr 0 -) */"
refuses words core/base/a.c '/* ---- a banner with no rule */'
refuses words kernels/cpu/a_impl.h '/* a_impl.h - what it does.  Needs: vec.h. */'
refuses words kernels/cpu/a_impl.h '/* a_impl.h - what it does.  Defines: a. */'
refuses padded core/include/bridge/a.h 'struct s { int a; long b; };'
refuses padded core/include/bridge/a.h 'struct s { size_t a; };'

all_refused

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
accepts floors core/text/tok/a.c '#include "../../base/base.h"' '#include "../text.h"' '#include "../jinja/jinja.h"'
accepts floors core/base/dir.c 'int fd = openat(a, b, 0);' 'br__io.unlinkat(fd, a, 0);'
accepts floors core/model/a.c 'd->backend->open(d);' 'br__hub_link(h);' 'fopen(path, "re");' 'br__io.stat(p, &st);'
accepts floors core/model/registry.c 'void *p = dlopen("x", 2);'
accepts floors plugins/a/a.c '#include <bridge/rules.h>' '#include "../../recipes/a.def"'
accepts prints core/cli/a.c 'puts("\n a:");' "putchar('x');" 'fputs("> ", stdout);' 'br__say(f, "%s", s);'
accepts prints core/cli/output.c 'fwrite(p, 1, n, f);'
accepts banned core/base/a.c 'snprintf(a, 1, "x"); my_strcpy2(a);'
accepts words kernels/cpu/vec_avx2.h '/* Each lane of the register. */'
accepts words kernels/cpu/a_impl.h '/* a_impl.h - what it does.' ' *' ' * Needs: vec.h.  Defines: a. */' '/* ---- a --- */'
accepts words core/base/a.c '/* ---- a banner ------------ */' 'return br__nomem(err, "for a");'
accepts padded core/include/bridge/a.h 'struct s { int a, b; long c; };'

# licence FILE TEXT...: the verdict on a tree that has a licence, and FILE with these lines.
licence() {
    local file=$1
    shift
    rm -rf "$tree"/* "$tree/.ci"
    mkdir -p "$tree/$(dirname "$file")"
    echo 'Apache License' >"$tree/LICENSE"
    echo bridge >"$tree/NOTICE"
    printf '%s\n' "$@" >"$tree/$file"
    bash "$here/licence.sh" "$tree" >/dev/null 2>&1
}
# with_licence FILE TEXT... / without_licence FILE TEXT...: it must pass / must not.
with_licence() { licence "$@" || { echo "licence refuses $*" && failed=1; }; }
without_licence() { ! licence "$@" || { echo "licence accepts $*" && failed=1; }; }
line='Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0'
for file in core/a/a.c core/include/bridge/a.h recipes/a.def tests/unit/a.inc cmake/a.c.in; do
    with_licence "$file" "/* $line */" 'int a;'
    without_licence "$file" 'int a;'
done
for file in tests/a.sh scripts/a.py plugins/a/CMakeLists.txt CMakeLists.txt cmake/a.cmake; do
    with_licence "$file" "# $line"
    without_licence "$file" '# text'
done
with_licence scripts/a '#!/bin/sh' "# $line"
without_licence scripts/a '#!/bin/sh'
without_licence .ci/run '#!/bin/sh'
without_licence core/a.c 1 2 3 4 5 "/* $line */"
without_licence core/a.c "/* ${line/The bridge/Other} */"
without_licence core/a.c "/* ${line/Apache-2.0/MIT} */"
with_licence scripts/packages 'text'
with_licence tests/data/a.py 'text'
with_licence tests/fuzz/corpus/a.c 'text'
rm "$tree/LICENSE"
bash "$here/licence.sh" "$tree" >/dev/null 2>&1 && echo "licence accepts a tree without LICENSE" && failed=1

# abi VERDICT TEXT...: the header with these lines, after what the tree has recorded, is accepted, unrecorded
# (accepted only by --record) or broken (refused by both).
abi() {
    local verdict=$1 plain=0 record=0
    shift
    printf '#include <stdint.h>\n#define BR_API __attribute__((visibility("default")))\n' \
        >"$tree/core/include/bridge/a.h"
    printf '%s\n' "$@" >>"$tree/core/include/bridge/a.h"
    cp "$tree/tests/lint/abi.txt" "$tree/kept"
    bash "$here/abi.sh" "$tree" >/dev/null 2>&1 || plain=1
    bash "$here/abi.sh" "$tree" --record >/dev/null 2>&1 || record=1
    cp "$tree/kept" "$tree/tests/lint/abi.txt"
    case $verdict:$plain$record in
    accepted:00 | unrecorded:10 | broken:11) ;;
    *)
        echo "abi: not $verdict ($plain$record): $*"
        failed=1
        ;;
    esac
}
s='struct br_s { uint32_t struct_size, b; const char *c; };'
f='struct br_f { int a; int (*g)(int x, int y); };'
e='enum br_e { BR_A, BR_B, BR_N_E };'
g='BR_API int br_g(int a, struct br_s *s) __attribute__((warn_unused_result));'
rm -rf "$tree"/*
mkdir -p "$tree/core/include/bridge" "$tree/tests/lint"
printf '#include <stdint.h>\n%s\n' '#define BR_API __attribute__((visibility("default")))' "$s" "$f" "$e" "$g" \
    >"$tree/core/include/bridge/a.h"
bash "$here/abi.sh" "$tree" --record >/dev/null || failed=1
abi accepted "$s" "$f" "$e" "$g"
abi accepted "$e" "$f" "$s" "$g"
abi unrecorded "${s/ \}/ long d; \}}" "$f" "$e" "$g"
abi unrecorded "$s" "$f" "${e/BR_N_E/BR_C, BR_N_E}" "$g"
abi unrecorded "$s" "$f" "$e" "$g" 'BR_API int br_h(void);'
abi unrecorded "$s" "$f" "$e" "$g" 'struct br_new { int a; };'
abi broken "${s/b;/b; long d;}" "$f" "$e" "$g"
abi broken "${s/struct_size, b/b, struct_size}" "$f" "$e" "$g"
abi broken "${s/const char *c/uint32_t c}" "$f" "$e" "$g"
abi broken "${s/const char \*c;/}" "$f" "$e" "$g"
abi broken "$s" "${f/ \}/ long d; \}}" "$e" "$g"
abi broken "$s" "$f" "${e/BR_A/BR_Z, BR_A}" "$g"
abi broken "$s" "$f" "${e/BR_A,/}" "$g"
abi broken "$s" "$f" "$e"
abi broken "$s" "$f" "$e" "${g/int a/long a}"
abi broken "$s" "$e" "$g"
u='/*
 * UNSTABLE: text. */'
bash "$here/abi.sh" "$tree" --record >/dev/null && failed=1 # what broke is not recorded
printf '%s\n' "$u" >>"$tree/core/include/bridge/a.h"
rm "$tree/tests/lint/abi.txt"
bash "$here/abi.sh" "$tree" --record >/dev/null || failed=1
abi accepted "$s" "$e" "$g" "$u"
abi unrecorded "${s/b;/b; long d;}" "$e" "$g" "$u"
abi unrecorded "$s" "$e" "$u"
abi unrecorded "$s" "$f" "$e" "$g" "$u"

# commits VERDICT MESSAGE: a repository whose only commit after the base has this message is accepted or refused.
git_in_tree() {
    git -C "$tree" -c user.name=A -c user.email=a@example.org -c commit.gpgSign=false -c core.hooksPath=/dev/null "$@"
}
commits() {
    local verdict=$1 got=accepted
    git_in_tree reset -q --hard "$base"
    git_in_tree commit -q --allow-empty --cleanup=verbatim -m "$2"
    bash "$here/commits.sh" "$tree" >/dev/null 2>&1 || got=refused
    if [ "$got" != "$verdict" ]; then
        echo "commits: $got, expected $verdict: $2"
        failed=1
    fi
}
rm -rf "$tree"/*
mkdir -p "$tree/tests/lint"
git_in_tree init -q
git_in_tree commit -q --allow-empty -m 'Whatever was said before the rule'
base=$(git_in_tree rev-parse HEAD)
echo "$base" >"$tree/tests/lint/commits.base"
why=$'\n\nBecause it was slow.'
long=$(printf 'cpu: %067d' 0)
commits accepted "cpu: copy rows with one store$why"
commits accepted "tests/cli, docs: embed a table$why"
commits accepted "$long$why"
commits refused "${long}0$why"
commits refused "cpu: copy rows with one store"
commits refused $'cpu: copy rows with one store\n\n  \n'
commits refused "cpu: copy rows with one store.$why"
commits refused "Copy rows with one store$why"
commits refused "CPU: copy rows with one store$why"
commits refused "cpu copy: rows with one store$why"
commits refused "cpu: added one store$why"
commits refused "cpu: fixes the store$why"
git_in_tree reset -q --hard "$base"
git_in_tree merge -q --no-ff -m 'Merge branch x' "$(git_in_tree commit-tree -p "$base" -m "cpu: copy$why" "$base^{tree}")"
bash "$here/commits.sh" "$tree" >/dev/null || { echo "commits refuses a merge"; failed=1; }
echo 0000000000000000000000000000000000000000 >"$tree/tests/lint/commits.base"
! bash "$here/commits.sh" "$tree" >/dev/null || { echo "commits accepts a base that is not there"; failed=1; }
git_in_tree clone -q --depth 1 "file://$tree" "$tree/clone"
mkdir -p "$tree/clone/tests/lint" "$tree/plain/tests/lint"
echo "$base" | tee "$tree/clone/tests/lint/commits.base" >"$tree/plain/tests/lint/commits.base"
for folder in clone plain; do
    rc=0
    bash "$here/commits.sh" "$tree/$folder" >/dev/null || rc=$?
    [ "$rc" = 77 ] || { echo "commits does not skip a $folder"; failed=1; }
done

# docs: a copy of this tree in which everything that docs.sh looks at is wrong once; it must name each.
rm -rf "$tree"/* "$tree"/.git
cp -r "$here"/../../{.ci,CMakeLists.txt,CONTRIBUTING.md,README.md,cmake,core,docs,kernels,plugins,scripts} "$tree"
mkdir -p "$tree/tests" "$tree/attic"
cp -r "$here" "$tree/tests"
page=$tree/docs/architecture.md
sed -i -e '/^| `core\/dist` /d' -e 's/^| `core\/hub` .*/&\n| `core\/cellar` | nothing |/' \
    -e 's/`br__grad()` in/`br__graduate()` in/' "$page"
sed -i '0,/^5 /s/^5 /6 /' "$tree/tests/lint/levels"
cat >>"$tree/README.md" <<'END'
`core/base/nothing.c` `br__nothing_of_the_kind` [a page](docs/nothing.md) BRIDGE_NOBODY_READS `(run)`
END
sed -i 's/libxxhash //' "$tree/CMakeLists.txt"
sed -i 's/^libyaml-dev .*//' "$tree/scripts/lib/packages"
sed -i 's/"not found"/"nowhere"/' "$tree/core/include/bridge/base.h"
printf '%s\n' '#include <yaml.h>' 'const char *x = getenv("BRIDGE_UNNAMED");' >"$tree/core/base/extra.c"
bash "$here/docs.sh" "$tree" >"$tree/said" 2>&1 && { echo "docs accepts a spoiled tree"; failed=1; }
while IFS= read -r offence; do
    grep -qF -- "$offence" "$tree/said" || { echo "docs does not say: $offence"; failed=1; }
done <<'END'
folders: not named: core/dist
folders: not there: core/cellar
the order is not that of tests/lint/levels
layout: not named: attic
name 'core/base/nothing.c', which does not exist
br__graduate() is not defined in core/graph/grad.c
name 'br__nothing_of_the_kind', which the code does not have
broken link to 'docs/nothing.md'
a figure is missing
libraries: not there: libxxhash
Debian packages: not there: libyaml-dev
users of yaml.h: not named: core/base/extra.c
exit statuses: not named: 11 nowhere
the code reads BRIDGE_UNNAMED, which no document names
documents name the variable BRIDGE_NOBODY_READS, which nothing reads
END
exit "$failed"
