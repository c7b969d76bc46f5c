# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# bench.sh - `bridge bench`: that it measures and adds up; how fast is not judged here.
. "$(dirname "$0")/lib.sh"
one_thread

for arch in qwen3 qwen3_moe; do
    "$BRIDGE" toy $arch -o $arch --quiet >/dev/null
done
small=(--prefill-tokens 16 --decode-tokens 4 --repeat 1)
expect 0 bench --hf-model qwen3 "${small[@]}"
says "${BRIDGE_TEST_DEVICE:-cpu}, "
says "prefill 16 tokens: "
says "decode 4 tokens x 1: "
says "of the read ceiling"
says "private memory"
expect 0 bench qwen3 "${small[@]}" --batch 3 --json
json '.device == "'"${BRIDGE_TEST_DEVICE:-cpu}"'" and (.tier | length) > 0 and .prefill_tokens_per_second > 0 and .decode_tokens_per_second > 0'
json '.matmul_peak_flops > 0 and .read_peak_bytes > 0 and .prefill_ratio > 0 and .decode_ratio > 0'
json '.private_bytes > 0'
# a step reads each weight once, the embedding's one row aside: 2 bytes of every parameter but that table
total=$("$BRIDGE" inspect qwen3 --json | jq '[.tensors | to_entries[] | select(.key | test("embed|norm") | not) | .value.shape
    | reduce .[] as $n (2; . * $n)] | add')
json ".weight_bytes_per_token >= $total and .weight_bytes_per_token < $total + 20000"
# and, after 16 + 4 / 2 tokens, keys and values in bfloat16 of every layer
kv=$(jq '.num_hidden_layers * .num_key_value_heads * .head_dim * 2 * 2 * 18' qwen3/config.json)
json ".cache_bytes_per_token == $kv"
bytes() { jq .weight_bytes_per_token "$out"; }
expect 0 bench qwen3_moe "${small[@]}" --json --threads 1
two=$(bytes)
"$BRIDGE" toy qwen3_moe -o more --set num_experts_per_tok=4 --quiet >/dev/null
expect 0 bench more "${small[@]}" --json
[ "$(bytes)" -gt "$two" ] || fail "only the routed experts are counted"
"$BRIDGE" import qwen3 --megatron-path megatron --no-sync --quiet >/dev/null
expect 0 bench --megatron-path megatron "${small[@]}" --tp 2 --dtype float32 --json
# Of a model whose weights are random config.json is enough; it costs what the model of files costs.
mkdir shape
cp qwen3/config.json shape/
expect 0 bench qwen3 "${small[@]}" --json
whole=$(jq -c '[.weight_bytes_per_token, .cache_bytes_per_token]' "$out")
expect 0 bench shape --random "${small[@]}" --json
json "[.weight_bytes_per_token, .cache_bytes_per_token] == $whole and .decode_ratio > 0"
[ "$(ls shape)" = config.json ] || fail "written: $(ls shape)"

refused() { # STATUS TEXT ARGUMENT...
    expect "$1" bench "${@:3}"
    complains "$2"
    mute
}
refused 2 "no model" "${small[@]}"
refused 2 "'--repeat' is '65', expected a whole number from 1 to 64" qwen3 --repeat 65
refused 2 "'--repeat'" qwen3 --repeat 0
refused 2 "max_position_embeddings" qwen3 --prefill-tokens 600
refused 11 "none/config.json" none --random "${small[@]}"
refused 2 "option '--random' needs MODEL" --megatron-path megatron --random "${small[@]}"
refused 11 "no backend 'none'" qwen3 --device none "${small[@]}"
done_ok
