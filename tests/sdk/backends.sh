# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# backends.sh - every command of docs/backends.md, run in order against an install, and what it must print.
. "$(dirname "$0")/lib.sh"
. "$source/tests/cli/libpage.sh"
install_moved
mkdir "$work/home" "$work/reader"
export HOME=$work/home
unset XDG_DATA_HOME
cd "$work/reader"
cp -r "$source/examples/first" .
with_gcc first/first.c first >/dev/null # with all warnings
run_page "$source/docs/backends.md" 4

# A backend lies in a plugin folder and is no refused plugin.
mkdir plugins
cp bridge_first.so plugins
BRIDGE_PLUGIN_PATH=$PWD/plugins bridge plugin list --json >list
jq -e '.refused == []' list >/dev/null || fail "a backend is refused as a plugin: $(cat list)"
echo "ok: backends"
