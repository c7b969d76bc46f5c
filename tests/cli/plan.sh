# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# plan.sh - what a job would do, from headers alone.
. "$(dirname "$0")/lib.sh"
model=$data/torch_dist/qwen3_moe/hf
megatron=$data/torch_dist/qwen3_moe/torch_dist

# for people: a few lines for each rule, readable at 80 columns; with --wide a row for each tensor
expect 0 plan import "$model" --megatron-path out
[ "$(awk '/^$/ { exit } length > m { m = length } END { print m }' "$out")" -le 80 ] || fail "a line of the plan is too wide"
says 'decoder.layers.{layer}.self_attention.linear_qkv.weight'
says '    QKV of model.layers.{layer}.self_attn.{q,k,v}_proj.weight'
says '    1 tensor, bfloat16 '
! head -n 1 "$out" | grep -q exactness || fail "the plan is a table without --wide"
expect 0 plan import "$model" --wide
silent
head -1 "$out" | grep -Eq '^tensor +dtype +shape +bytes +exactness +layout +rule +inputs$' || fail "heading"
grep -Eq '^decoder.layers.self_attention.linear_qkv.weight +bfloat16 .* exact +QKV +decoder.layers.\{layer\}' "$out" || fail "row"
says 'peak private memory: about '

# the plan's tensors are those that the real tool wrote, and its inputs are the model's, each once
expect 0 plan import "$model" --json
jq -S '[.tensors[] | {key: .name, value: {dtype, shape}}] | from_entries' "$out" >got
jq -S 'del(.__objects__) | map_values({dtype, shape})' "$data/torch_dist/qwen3_moe/expected.json" >want
diff want got >"$err" || fail "outputs"
jq -r '.tensors[].inputs[]' "$out" | sort >got
"$BRIDGE" inspect "$model" --json | jq -r '.tensors | keys[]' | sort >want
diff want got >"$err" || fail "inputs"
json '.output_bytes == ([.tensors[].bytes] | add) and .n_tensors == (.tensors | length) and .direction == "import"'
json '.skipped == []'

# memory is counted for the threads that there will be: those of --threads, else one per CPU
peak() {
    expect 0 plan import "$model" --json "$@"
    peak=$(jq .peak_private_bytes "$out")
}
peak --threads 2
two=$peak
[ "$two" -lt 67108864 ] || fail "$two bytes for two threads"
peak --threads 200
many=$peak
[ "$many" -ge $((two + 198 * 262144)) ] || fail "$many bytes for 200 threads, $two for two"
BRIDGE_CPUS=200 peak
[ "$peak" = "$many" ] || fail "one thread per CPU"
BRIDGE_CPUS=200 peak --threads 2
[ "$peak" = "$two" ] || fail "--threads goes before the number of CPUs"

expect 0 plan export "$megatron" --hf-model "$model" --json
jq -r '.tensors[].name' "$out" | sort >got
diff want got >"$err" || fail "export's outputs"
json '[.tensors[].inputs[]] | length > 0 and all(startswith("decoder.") or startswith("embedding.") or startswith("output_layer."))'

# from a config.json alone, in both expert layouts
expect 0 plan import --config "$model/config.json" --json
jq -r '.tensors[].inputs[]' "$out" | sort >got
diff want got >"$err" || fail "invented inputs"
expect 0 plan import --config "$model/config.json" --expert-layout fused --json
json '[.tensors[].inputs[]] | any(endswith("experts.gate_up_proj"))'

# a source that does not fit is refused with the same words as an import
cp -rL "$model" lacking
chmod -R u+w lacking
jq '.num_hidden_layers += 1' "$model/config.json" >lacking/config.json
expect 8 plan import lacking
complains 'missing'
expect 0 plan import lacking --not-strict --json
json '.skipped | length > 0'
done_ok
