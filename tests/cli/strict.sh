#!/usr/bin/env bash
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# Every kind of source that does not fit: an exit code that is not 0, a message that says what, where, got and
# expected, and nothing written.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
n=0

fresh() { rm -rf src dest; cp -r "$BRIDGE_TEST_DATA/${1:-torch_dist/qwen3/hf}" src; chmod -R u+w src; }

# refuse CODE TEXT [import options]: the import of src fails with this code, this text, and no destination
refuse() {
    local code=$1 text=$2 got=0
    shift 2
    "$BRIDGE" import --no-progress --hf-model src --megatron-path dest "$@" >out 2>err || got=$?
    n=$((n + 1))
    if [ "$got" != "$code" ] || ! grep -qF -- "$text" err; then
        echo "check $n: exit $got, expected $code, and the text: $text" >&2
        cat err >&2
        exit 1
    fi
    if [ -e dest ] || [ -e .dest.bridge-partial ]; then
        echo "check $n: something was written ($text)" >&2
        exit 1
    fi
}

# Change the first occurrence of some bytes of a file in place: both strings of one length.
swap() {
    [ ${#2} = ${#3} ] || { echo "swap: '$2' and '$3' differ in length" >&2; exit 1; }
    A=$2 B=$3 perl -0777 -pi -e 's/\Q$ENV{A}\E/$ENV{B}/ or die "no \"$ENV{A}\""' "$1"
}
config() { jq "$1" src/config.json >c.json && mv c.json src/config.json; }

# ---- tensors against the model
fresh; config '.num_hidden_layers = 5 | .max_window_layers = 5'
refuse 8 "11 tensor(s) of the model are missing from the source, first 'model.layers.4."
fresh; config '.num_hidden_layers = 3'
refuse 8 "11 tensor(s) of the source are unexpected, first 'model.layers.3."
fresh; swap src/model.safetensors 'model.layers.2.self_attn.k_norm.weight' 'model.layers.2.self_attn.k_mron.weight'
refuse 8 "misnamed?"
fresh; config '.intermediate_size = 95'
refuse 8 "expected [95, 64]"
fresh; config '.head_dim = 16'
refuse 8 "expected ["
fresh; swap src/model.safetensors '"dtype":"BF16","shape":[32]' '"dtype":"U16" ,"shape":[32]'
refuse 8 "is U16, expected a float type"
fresh; swap src/model.safetensors '"dtype":"BF16","shape":[32]' '"dtype":"F16" ,"shape":[32]'
refuse 8 "would mix dtypes"

# ---- tied embeddings
fresh; config '.tie_word_embeddings = true'
refuse 8 "use --untie to keep both"
"$BRIDGE" import -q --no-progress --no-sync --untie --hf-model src --megatron-path dest >/dev/null
"$BRIDGE" export -q --no-progress --no-sync --megatron-path dest --hf-path back >/dev/null
cmp src/model.safetensors back/model.safetensors
jq -e '.tie_word_embeddings == false' back/config.json >/dev/null
rm -rf back
fresh torch_dist/qwen3_tied/hf; config '.tie_word_embeddings = false'
refuse 8 "missing from the source, first 'lm_head.weight'"

# ---- FP8
fresh hf/qwen3_moe_fp8; swap src/model.safetensors 'model.layers.0.self_attn.q_proj.weight_scale_inv' 'model.layers.0.self_attn.q_proj.weight_scale_vni'
refuse 8 "has no 'model.layers.0.self_attn.q_proj.weight_scale_inv'"
fresh hf/qwen3_moe_fp8; config '.quantization_config.weight_block_size = [64, 64]'
refuse 8 "one scale per 64 x 64 block"
fresh hf/qwen3_moe_fp8; config '.quantization_config.quant_method = "gptq"'
refuse 12 "quantization 'gptq'"
fresh hf/qwen3_moe_fp8 # the last scale of the file becomes a NaN
off=$("$BRIDGE" inspect --json src | jq -r '.tensors | keys[]' >/dev/null; \
    head=$(od -An -tu8 -N8 src/model.safetensors | tr -d ' '); \
    begin=$(dd if=src/model.safetensors bs=1 skip=8 count="$head" 2>/dev/null | jq '."model.layers.0.self_attn.q_proj.weight_scale_inv".data_offsets[0]'); \
    echo $((8 + head + begin)))
printf '\x00\x00\xc0\x7f' | dd of=src/model.safetensors bs=1 seek="$off" conv=notrunc 2>/dev/null
refuse 8 "non-finite FP8 scale"

# ---- configuration
fresh; config '.architectures = ["Qwen3ForCausalML"] | .model_type = "qwen33"'
refuse 6 "qwen33"
grep -qF qwen3_moe err
fresh; config '.architectures = ["Qwen2ForCausalLM"]'
refuse 6 "Qwen2ForCausalLM"
fresh; config '.num_key_value_heads = 3'
refuse 5 "not a multiple of 3 key-value heads"
fresh; config 'del(.hidden_size)'
refuse 5 "config.json has no 'hidden_size'"
fresh; config '.vocab_size = -1'
refuse 5 "vocab_size"
fresh; config '.num_hidden_layers = 3000000'
refuse 5 "more than any model has"
fresh; config '.rope_scaling = {"rope_type": "dynamic", "factor": 2.0}'
refuse 5 "rope type 'dynamic'"
fresh; echo '{"architectures": [' >src/config.json
refuse 4 "config.json"
fresh; rm src/config.json
refuse 11 "config.json"
fresh torch_dist/qwen3_next/hf; config '.layer_types = ["full_attention"]'
refuse 5 "'layer_types' has 1 entries"
fresh torch_dist/qwen3_moe/hf; config '.mlp_only_layers = [9]'
refuse 5 "'mlp_only_layers' names a layer outside [0, 2)"

# ---- files
fresh; truncate -s -100 src/model.safetensors
refuse 4 "is the download complete?"
fresh; truncate -s 5 src/model.safetensors
refuse 4 "model.safetensors"
fresh; printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of=src/model.safetensors bs=1 conv=notrunc 2>/dev/null
refuse 4 "header"
fresh; rm src/model.safetensors
refuse 11 "src"
fresh hf/qwen2_sharded_fp32; rm src/model-00002-of-00002.safetensors
refuse 11 "model-00002-of-00002.safetensors"
fresh hf/qwen2_sharded_fp32; swap src/model.safetensors.index.json 'model-00001-of-00002' '../../../../of-00002'
refuse 4 "index"
refuse 11 "nobody/nothing" --hf-model nobody/nothing

# ---- destinations
fresh; n=$((n + 1)); got=0
"$BRIDGE" import -q --hf-model src --megatron-path src/inside 2>err || got=$?
[ "$got" = 2 ] && grep -q overlap err
mkdir dest && echo mine >dest/file; got=0
"$BRIDGE" import -q --hf-model src --megatron-path dest 2>err || got=$?
[ "$got" = 9 ] && grep -q -- --overwrite err && [ "$(cat dest/file)" = mine ]

# ---- a loose run continues and lists what it skipped
fresh; config '.num_hidden_layers = 3'
"$BRIDGE" import --no-progress --no-sync --not-strict --hf-model src --megatron-path dest >out 2>err
[ "$(grep -c 'skipped: unexpected:' err)" = 11 ]

# ---- Megatron side: damaged checkpoints
export_refuse() {
    local code=$1 text=$2 got=0
    rm -rf hf_out
    "$BRIDGE" export --no-progress --megatron-path ck --hf-model "$BRIDGE_TEST_DATA/torch_dist/qwen3/hf" --hf-path hf_out >out 2>err || got=$?
    n=$((n + 1))
    if [ "$got" != "$code" ] || ! grep -qF -- "$text" err || [ -e hf_out ]; then
        echo "check $n: exit $got, expected $code, and the text: $text" >&2
        cat err >&2
        exit 1
    fi
}
checkpoint() { rm -rf ck; cp -r "$BRIDGE_TEST_DATA/torch_dist/qwen3/torch_dist" ck; chmod -R u+w ck; }
checkpoint; truncate -s -1000 ck/iter_0000000/__0_0.distcp
export_refuse 4 "__0_0.distcp"
checkpoint; rm ck/iter_0000000/__0_0.distcp
export_refuse 11 "__0_0.distcp"
checkpoint; truncate -s 5000 ck/iter_0000000/.metadata
export_refuse 4 ".metadata"
checkpoint; rm ck/iter_0000000/.metadata
export_refuse 4 "has no .metadata"

echo "$n refusals, each with its message and no output"
