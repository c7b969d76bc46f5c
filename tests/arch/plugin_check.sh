# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# plugin_check.sh - `bridge plugin check` on every plugin that is found, which is the test suite of the
# architectures; and the form of what it prints.
. "$(dirname "$0")/../cli/lib.sh"
mkdir tmp
export TMPDIR=$work/tmp

"$BRIDGE" plugin list --json >"$out"
mapfile -t plugins < <(jq -r '.plugins[].name' "$out")
[ ${#plugins[@]} -ge 4 ] || fail "found only: ${plugins[*]}"
for name in "${plugins[@]}"; do
    expect 0 plugin check "$name"
    silent
    grep -qv '^ok ' "$out" && fail "a check of $name is not ok"
    grep -q 'toy import and export (per-expert, untied): bit for bit' "$out" || fail "$name made no trip"
    grep -q 'toy forward and backward: finite' "$out" || fail "$name was not run"
    [ -z "$(ls tmp)" ] || fail "a toy of $name is left"
    echo "ok: $name, $(wc -l <"$out") checks"
done
expect 0 plugin check qwen3_moe --json
json '.plugin == "qwen3_moe" and .failed == 0 and (.checks | length > 10 and all(.ok))'
json '[.checks[].check] | any(contains("fused experts"))'

# by file, where there is one
path=$(jq -r '.path' "$out")
if [ -f "$path" ]; then
    expect 0 plugin check "$path"
fi
expect 0 help
done_ok
