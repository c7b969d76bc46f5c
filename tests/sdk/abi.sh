# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# abi.sh - the llama example compiled with the installed headers as they were before the last member was added to
# struct br_arch, and as they may be one day, with one more member in every struct and row.  Both plugins work here;
# one that uses what this bridge cannot know is refused.
. "$(dirname "$0")/lib.sh"
install_moved

# edited NAME AWK: the installed headers, plugin.h changed by the program.
edited() {
    mkdir -p "$work/$1/bridge"
    cp "$kit"/include/bridge/*.h "$work/$1/bridge"
    awk "$2" "$kit/include/bridge/plugin.h" >"$work/$1/bridge/plugin.h"
    ! cmp -s "$work/$1/bridge/plugin.h" "$kit/include/bridge/plugin.h" || fail "the headers of $1 are today's"
}
edited older '
    /^struct br_arch {/ { inside = 1 }
    inside && /^};/ { inside = 0; held = "" }
    inside { if (held != "") print held; held = $0; next }
    { print }'
edited newer '
    /^struct br_[a-z]+ {/ { inside = 1 }
    inside && /^};/ { print "    uint64_t tail;"; inside = 0 }
    { print }'
sed -i 's/^#define BR_VERSION_MINOR .*/#define BR_VERSION_MINOR 77/' "$work/newer/bridge/base.h"

works() {
    bridge plugin check "$1" >"$work/check" || fail "$(cat "$work/check")"
    bridge toy llama --plugin "$1" -o "$work/toy.$2" >/dev/null
    bridge roundtrip "$work/toy.$2" --plugin "$1" >/dev/null || fail "$2: no round trip"
}
sed 's/^\( *\).maps = BR_ROWS(maps),/&\n\1.tail = 7,/' "$source/examples/llama/llama.c" >"$work/wants_more.c"
# Before struct br_arch had a builder, there was nothing to say about it.
sed '/^static br_val layer/,/^}/d; /\.layer = /d' "$source/examples/llama/llama.c" >"$work/no_builder.c"
older=$(with_gcc "$work/no_builder.c" llama -I"$work/older")
works "$older" older
newer=$(with_gcc "$source/examples/llama/llama.c" llama -I"$work/newer" -Wno-missing-field-initializers)
works "$newer" newer
grep -q 'built with bridge 1\.77\.' < <(bridge plugin show "$newer") || fail "not built with the newer headers"
plugin=$(with_gcc "$work/wants_more.c" llama -I"$work/newer" -Wno-missing-field-initializers)
rc=0
bridge plugin check "$plugin" >/dev/null 2>"$work/err" || rc=$?
[ "$rc" = 7 ] || fail "exit status $rc for a plugin that wants more than this bridge knows"
cat "$work/err"
grep -q '1\.77\.' "$work/err" || fail "the refusal does not name the plugin's version"
echo ok
