# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# misbuilt.sh - `bridge plugin check` names what is wrong with a layer builder: the weights that it leaves out, and the
# weight, as the plugin calls it, that does not fit.  The families are tests/modules/misbuilt.c.
. "$(dirname "$0")/lib.sh"
plugin=${BRIDGE_BUILD:?}/tests/misbuilt/bridge_misbuilt.so
[ -e "$plugin" ] || fail "no $plugin"

expect 7 plugin check "$plugin"
cat "$err" >>"$out"
says 'forgets: toy import and export (per-expert, untied): bit for bit'
says "23 of 25 weights have a gradient; the builder leaves out 'model.layers.0.post_attention_layernorm.weight', 'model.layers.1.post_attention_layernorm.weight'"
says "op RMSNORM does not fit its inputs"
grep -q "RMSNORM .*\[16\] ('[^']*self_attention.q_layernorm.weight')" "$out" || fail "the weight that does not fit is not named"
expect 7 plugin check "$plugin" --json
json '[.checks[] | select(.ok | not)] | length >= 2'
done_ok
