# sdk.sh - install, move the install elsewhere, and build and load a plugin against it in both ways that
# the documentation names; then the same program from the portable tarball.
# BRIDGE_BUILD is the build tree, CC the compiler.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# lists PROGRAM WHERE: the example is found in WHERE and can be checked.
lists() {
    if ! BRIDGE_PLUGIN_PATH=$2 "$1" plugin list | grep -q example; then
        echo "FAILED: $1 does not find the plugin in $2"
        exit 1
    fi
    "$1" plugin check "$2/bridge_example.so"
}

cmake --install "$BRIDGE_BUILD" --prefix "$work/staged" >/dev/null
mv "$work/staged" "$work/moved"
moved=$work/moved
program=$moved/bin/bridge
libdir=$(dirname "$(find "$moved" -name libbridge.so)")
"$program" --version
for name in qwen2 qwen3 qwen3_moe qwen3_next; do
    "$program" plugin list | grep -q "$name" || { echo "FAILED: no $name after the move"; exit 1; }
done

echo "-- find_package"
cmake -S "$here" -B "$work/cmake" -DCMAKE_C_COMPILER="$CC" -DCMAKE_PREFIX_PATH="$moved" \
    -DCMAKE_C_FLAGS="-Wall -Wextra -Wpedantic -Werror" >/dev/null
cmake --build "$work/cmake" >/dev/null
lists "$program" "$work/cmake/lib/bridge/1"

echo "-- pkg-config"
export PKG_CONFIG_PATH=$libdir/pkgconfig
mkdir "$work/gcc"
"$CC" -std=c11 -shared -fPIC -fvisibility=hidden -Wl,-z,defs "$here/example.c" \
    $(pkg-config --cflags --libs bridge) -o "$work/gcc/bridge_example.so"
lists "$program" "$work/gcc"

echo "-- plugindir"
cp "$work/gcc/bridge_example.so" "$(pkg-config --variable=plugindir bridge)"
"$program" plugin list | grep -q example

echo "-- portable tarball"
(cd "$work" && cpack -G TGZ --config "$BRIDGE_BUILD/CPackConfig.cmake" -B "$work/pack" >/dev/null)
mkdir "$work/portable"
tar -xzf "$work"/pack/*.tar.gz -C "$work/portable" --strip-components=1
program=$work/portable/bin/bridge
"$program" plugin list | grep -q qwen3_next
lists "$program" "$work/cmake/lib/bridge/1"
# Nothing may come from the system but glibc and the vDSO, also not what libcurl needs in turn.
for object in "$program" "$work"/portable/lib/libbridge.so*; do
    ldd "$object" | awk '/=>/ { print $1, $3 }' | while read -r needs from; do
        case $needs in
        libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | libresolv.so.*) ;;
        *) [[ $from == "$work"/* ]] || { echo "FAILED: $(basename "$object") takes $needs from $from"; exit 1; } ;;
        esac
    done
done
echo ok
