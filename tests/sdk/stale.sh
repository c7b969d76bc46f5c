# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# stale.sh - a build tree forgets a plugin whose source was removed, and leaves what is not its own.
. "$(dirname "$0")/lib.sh"

folder=$work/lib/bridge/1
configure() { cmake -D FOLDER="$folder" -D NAMES="$1" -P "$source/cmake/stale.cmake"; }
configure 'one;two'
touch "$folder"/bridge_{one,two,backend}.so
configure 'two;three'
[ ! -e "$folder/bridge_one.so" ] || fail "the plugin whose source is gone is still there"
[ -e "$folder/bridge_two.so" ] || fail "a plugin was removed that has its source"
[ -e "$folder/bridge_backend.so" ] || fail "something was removed that is no plugin of this build"
grep -q 'include(cmake/stale.cmake)' "$source/CMakeLists.txt" || fail "the build does not do this"
echo "ok: stale"
