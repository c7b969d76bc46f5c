# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# exact.sh - two sources that no fixture has: a tied model that stores its output layer again, and delta-net norms for
# which w - 1 is not exact.
. "$(dirname "$0")/lib.sh"

# offset FILE TENSOR: where a tensor's data starts, and its length
place() {
    local head
    head=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip=8 count="$head" 2>/dev/null |
        jq -r --arg n "$2" --argjson base "$((8 + head))" '.[$n].data_offsets | "\(.[0] + $base) \(.[1] - .[0])"'
}

# ---- tied, with a copy of the embedding
expect 0 toy --arch qwen3 --output-dir tied --set tie_word_embeddings=false
read -r from n < <(place tied/model.safetensors model.embed_tokens.weight)
read -r to n < <(place tied/model.safetensors lm_head.weight)
dd if=tied/model.safetensors of=copy bs=1M iflag=skip_bytes,count_bytes skip="$from" count="$n" 2>/dev/null
dd if=copy of=tied/model.safetensors bs=1M oflag=seek_bytes seek="$to" conv=notrunc 2>/dev/null
jq '.tie_word_embeddings = true' tied/config.json >config.json && mv config.json tied/config.json

expect 0 import tied --megatron-path tied-mc --no-sync
expect 0 inspect tied-mc --json
json '.tensors | has("embedding.word_embeddings.weight") and (has("output_layer.weight") | not)'
expect 0 verify tied tied-mc
expect 0 export tied-mc --hf-path tied-back --no-sync
cmp tied/model.safetensors tied-back/model.safetensors || fail "the copy did not come back"
cmp tied/config.json tied-back/config.json || fail "config.json changed"
rm tied-mc/iter_0000000/bridge_manifest.json # now nothing says that there was a copy
expect 0 export tied-mc --hf-path tied-bare --no-sync
expect 0 inspect tied-bare --json
json '.tensors | has("lm_head.weight") | not'
expect 0 export tied-mc --hf-model tied --hf-path tied-ref --no-sync
cmp tied/model.safetensors tied-ref/model.safetensors || fail "the copy did not come back by reference"

# ---- norms below one half: w - 1 needs more bits than the tensor has
norms() { # norms DTYPE ELEMENT_BYTES WIDER: overwrite each delta-net norm with awkward values
    local dir=norms-$1 layer off len i
    expect 0 toy --arch qwen3_next --output-dir "$dir" --dtype "$1"
    for layer in 0 1 2; do
        read -r off len < <(place "$dir/model.safetensors" "model.layers.$layer.linear_attn.norm.weight")
        for ((i = 0; i < len / $2; i++)); do # mantissas all different, from 2^-2 down to 2^-17
            case $1 in
            bfloat16) printf '%b' "$(printf '\\x%02x\\x%02x' $((1 + 8 * i + 128 * (i & 1) & 255)) $((0x3e - i / 2)))" ;;
            float32) printf '%b' "$(printf '\\x%02x\\x37\\x%02x\\x%02x' $((2 * i + 1)) $((7 * i + 3)) $((0x3e - i / 2)))" ;;
            esac
        done | dd of="$dir/model.safetensors" bs=1M oflag=seek_bytes seek="$off" conv=notrunc 2>/dev/null
    done
    expect 0 plan import "$dir" --json
    json "[.tensors[] | select(.name | endswith(\"out_norm.weight\")) | .dtype] == [\"$3\", \"$3\", \"$3\"]"
    json '[.notes[] | select(contains("w - 1"))] | length == 1'
    expect 0 import "$dir" --megatron-path "$dir-mc" --no-sync
    expect 0 verify "$dir" "$dir-mc"
    expect 0 export "$dir-mc" --hf-path "$dir-back" --no-sync
    cmp "$dir/model.safetensors" "$dir-back/model.safetensors" || fail "$1: norms changed, with the manifest"
    rm "$dir-mc/iter_0000000/bridge_manifest.json"
    expect 0 export "$dir-mc" --hf-path "$dir-bare" --no-sync
    expect 0 diff "$dir" "$dir-bare"
}
norms bfloat16 2 float32
norms float32 4 float64

# ---- and where it is exact, the dtype and Megatron's bytes stay (test_convert compares the hashes)
expect 0 toy --arch qwen3_next --output-dir plain
expect 0 plan import plain --json
json '[.tensors[] | select(.name | endswith("out_norm.weight")) | .dtype] | unique == ["bfloat16"]'

# ---- a cast makes a model of that dtype, on both sides
expect 0 import plain --torch-dtype float32 --megatron-path cast --no-sync
expect 0 verify plain cast --torch-dtype float32
expect 1 verify plain cast
grep -A2 '^  params_dtype:' cast/iter_0000000/run_config.yaml | grep -q 'torch.float32' || fail "run_config.yaml's dtype"
expect 0 export cast --hf-path cast-hf --no-sync
expect 0 inspect cast-hf --json
json '[.tensors[].dtype] | unique == ["float32"]'
jq -e '.torch_dtype == "float32"' cast-hf/config.json >/dev/null || fail "config.json's dtype"
expect 0 export cast --torch-dtype bfloat16 --hf-path cast-back --no-sync
cmp plain/model.safetensors cast-back/model.safetensors || fail "bf16 to fp32 and back changed something"
cmp plain/config.json cast-back/config.json || fail "config.json changed"
done_ok
