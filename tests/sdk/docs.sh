# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# docs.sh - every command of docs/plugins.md, run in order against an install, and what it must print.
. "$(dirname "$0")/lib.sh"
. "$source/tests/cli/libpage.sh"
install_moved
mkdir "$work/home" "$work/reader"
export HOME=$work/home
unset XDG_DATA_HOME
cd "$work/reader"
mkdir model
cp "$source"/tests/data/llama/llama_untied_bf16/{config.json,generation_config.json,model.safetensors} model
run_page "$source/docs/plugins.md" 12
echo "ok: docs"
