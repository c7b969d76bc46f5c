# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# symbols.sh - what the built objects export: a module one function, libbridge the public names; and that
# none of them makes the dynamic linker look outside of the tree.
# BRIDGE_BUILD is the build tree.
. "$(dirname "$0")/lib.sh"

lib=${BRIDGE_BUILD:?}/lib
exported() {
    "${NM:-nm}" -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }'
}

names=$(exported "$lib/libbridge.so")
grep -qx br_main <<<"$names" || offence "libbridge.so does not export br_main"
while read -r name; do
    [[ $name =~ ^br_[a-z][a-z0-9_]*$ ]] || offence "libbridge.so exports $name"
done <<<"$names"

declared=$(sed -n 's/.*BR_API[^(]*[ *]\(br_[a-z0-9_]*\)(.*/\1/p' core/include/bridge/*.h | sort)
missing=$(comm -23 <(echo "$declared") <(sort <<<"$names"))
[ -z "$missing" ] || offence "declared in a public header, but not exported: $(echo $missing)"

# An empty entry would be the working directory.
for object in "$BRIDGE_BUILD"/bin/bridge "$lib"/libbridge.so "$lib"/bridge/1/*.so \
    "$BRIDGE_BUILD"/portable/bin/bridge "$BRIDGE_BUILD"/portable/lib/libbridge.so; do
    [ -e "$object" ] || continue
    runpath=$(readelf -dW "$object" | sed -n 's/.*R.*PATH.*\[\(.*\)\]/\1/p')
    [[ -z $runpath || $runpath =~ ^\$ORIGIN[^:]*(:\$ORIGIN[^:]*)*$ ]] ||
        offence "$(basename "$object") has the library path '$runpath'"
done

for plugin in "$lib"/bridge/1/*.so; do
    [ -e "$plugin" ] || continue # a build with the plugins inside
    names=$(exported "$plugin")
    case $(basename "$plugin") in
    comm_*) entry=bridge_plane_v1 ;;
    *) entry=bridge_plugin_v1 ;;
    esac
    [ "$names" = "$entry" ] || offence "$(basename "$plugin") exports: $(echo $names)"
    # The compiler's own start-up entry is the only code that may run at load.
    size=$(readelf -dW "$plugin" | awk '/INIT_ARRAYSZ/ { print $3 }')
    if [ -z "${BRIDGE_SANITIZE:-}" ] && [ "${size:-0}" -gt 8 ]; then
        offence "$(basename "$plugin") runs code at load: $size bytes of init_array"
    fi
done
finish
