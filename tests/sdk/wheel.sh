# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# wheel.sh - the wheel of scripts/wheel, installed by pip in a clean environment, runs the program with its plugins.
. "$(dirname "$0")/lib.sh"
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "SKIPPED: python3 has no venv with pip" && exit 77; }

(cd "$work" && cpack -G TGZ --config "$BRIDGE_BUILD/CPackConfig.cmake" -B "$work/pack" >/dev/null)
wheel=$("$source/scripts/wheel" "$work"/pack/*.tar.gz "$work/dist")
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --no-index --quiet --disable-pip-version-check "$wheel" || fail "pip refuses $wheel"
cd "$work"
env -i PATH=/usr/bin:/bin HOME="$work" venv/bin/bridge-hf list >list || fail "the program does not run"
grep -q '^qwen3_next ' list || fail "the program has no plugins"
env -i PATH=/usr/bin:/bin HOME="$work" venv/bin/python -m bridge_hf toy qwen3 -o 'a toy' -q >path
[ "$(cat path)" = 'a toy' ] && [ -e 'a toy/model.safetensors' ] || fail "arguments do not arrive"
got=0
venv/bin/bridge-hf no-such-command 2>/dev/null || got=$?
[ "$got" = 2 ] || fail "exit status $got, expected 2"
"$work/venv/bin/pip" uninstall --yes --quiet bridge-hf
[ -z "$(find venv/lib -path '*bridge_hf*' -type f)" ] || fail "something is left after uninstalling"
echo "ok: wheel"
