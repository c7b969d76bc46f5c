# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# plugin.sh - what list and plugin print.
. "$(dirname "$0")/lib.sh"

expect 0 list architectures
for type in qwen2 qwen3 qwen3_moe qwen3_next; do
    grep -Eq "^$type +[A-Za-z0-9]+ForCausalLM +$type +convert" "$out" || fail "$type is not listed"
done
cp "$out" want
expect 0 list
cmp -s want "$out" || fail "list is not list architectures"
expect 0 list --json
json '[.architectures[].model_type] | contains(["qwen2", "qwen3", "qwen3_moe", "qwen3_next"])'

expect 0 plugin list
says 'searched:'
expect 0 plugin list --json
json '[.plugins[] | select(.recipes > 0) | .name] | contains(["qwen2", "qwen3", "qwen3_moe", "qwen3_next"])'

json '[.plugins[] | select(.name == "qwen2")][0].recipes == 20'
expect 0 plugin show qwen3_moe
says 'decoder.layers.{moe}.mlp.router.weight'
says 'qwen3_30b_a3b_pretrain_config'
says 'num_experts|num_local_experts'
expect 0 plugin show qwen3_moe --json
json '.architectures[0].class == "Qwen3MoeForCausalLM" and ([.recipes[] | select(.name | contains(".") | not)] | length) == 4'
json '.architectures[0].maps | any(.layout == "QKV")'
expect 11 plugin show qwen4
complains "no plugin 'qwen4'; found: "
expect 7 plugin check ./nothing.so
expect 7 plugin show "$BRIDGE_TEST_DATA/hf/qwen3_tied_bf16/config.json"
done_ok
