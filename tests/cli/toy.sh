# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# toy.sh - models out of nothing: the same bytes for the same options, config.json's own keys.
. "$(dirname "$0")/lib.sh"

for arch in qwen2 qwen3 qwen3_moe qwen3_next; do
    expect 0 toy --arch $arch --output-dir $arch
    says "next: bridge import --hf-model $arch"
    jq -e ".model_type == \"$arch\"" $arch/config.json >/dev/null || fail "model_type"
    expect 0 roundtrip $arch
done
expect 0 toy Qwen3MoeForCausalLM -o by_class --json
json '.model_type == "qwen3_moe" and .path == "by_class"'
expect 0 diff qwen3_moe by_class
expect 0 toy qwen3_moe -o again --seed 0
cmp qwen3_moe/model.safetensors again/model.safetensors || fail "not deterministic"
expect 0 toy qwen3_moe -o other --seed 7
cmp -s qwen3_moe/model.safetensors other/model.safetensors && fail "the seed does nothing"

expect 0 toy qwen3_moe -o changed --set num_hidden_layers=3 mlp_only_layers=[0,1] --set hidden_size=32 --dtype float32
jq -e '.num_hidden_layers == 3 and .mlp_only_layers == [0, 1] and .hidden_size == 32' changed/config.json >/dev/null || fail "--set"
expect 0 inspect changed --json
json '.tensors["model.embed_tokens.weight"] == {"dtype": "float32", "shape": [320, 32]}'
json '.tensors | has("model.layers.1.mlp.gate_proj.weight") and has("model.layers.2.mlp.gate.weight")'
expect 0 toy qwen3_moe -o fused --expert-layout fused
expect 0 inspect fused --json
json '.tensors | has("model.layers.0.mlp.experts.down_proj")'

expect 6 toy qwen3_mo -o x
complains "qwen3_moe"
expect 9 toy qwen3 -o qwen2
expect 2 toy qwen3
complains "'toy' needs --output-dir DIR"
done_ok
