# portable.sh - the tarball of `cpack -G TGZ`: the plugins inside, a plugin from outside, nothing from the system
# but glibc.
. "$(dirname "$0")/lib.sh"
install_moved
plugin=$(with_gcc "$source/examples/llama/llama.c" llama)

(cd "$work" && cpack -G TGZ --config "$BRIDGE_BUILD/CPackConfig.cmake" -B "$work/pack" >/dev/null)
rm -r "$kit"
mkdir "$work/portable"
tar -xzf "$work"/pack/*.tar.gz -C "$work/portable" --strip-components=1
program=$work/portable/bin/bridge
"$program" plugin list | grep -q qwen3_next || fail "the tarball has no qwen3_next"
"$program" plugin check "$plugin" || fail "the tarball cannot load a plugin"
for object in "$program" "$work"/portable/lib/libbridge.so*; do
    ldd "$object" | awk '/=>/ { print $1, $3 }' | while read -r needs from; do
        case $needs in
        libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | libresolv.so.*) ;;
        *) [[ $from == "$work"/* ]] || fail "$(basename "$object") takes $needs from $from" ;;
        esac
    done
done
echo ok
