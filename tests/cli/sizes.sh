# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# sizes.sh - the twenty published sizes, planned from a config.json alone.  The parameter counts are those that the hub
# shows for the released files (a tied output layer counted once).
. "$(dirname "$0")/lib.sh"

# type class hidden ffn layers heads kv head_dim vocab tied parameters extra
sizes="
qwen2      Qwen2ForCausalLM      896  4864 24 14 2  64 151936 true       494032768 -
qwen2      Qwen2ForCausalLM     1536  8960 28 12 2 128 151936 true      1543714304 -
qwen2      Qwen2ForCausalLM     3584 18944 28 28 4 128 152064 false     7615616512 -
qwen2      Qwen2ForCausalLM     8192 29568 80 64 8 128 152064 false    72706203648 -
qwen2      Qwen2ForCausalLM      896  4864 24 14 2  64 151936 true       494032768 -
qwen2      Qwen2ForCausalLM     1536  8960 28 12 2 128 151936 true      1543714304 -
qwen2      Qwen2ForCausalLM     2048 11008 36 16 2 128 151936 true      3085938688 -
qwen2      Qwen2ForCausalLM     3584 18944 28 28 4 128 152064 false     7615616512 -
qwen2      Qwen2ForCausalLM     5120 13824 48 40 8 128 152064 false    14770033664 -
qwen2      Qwen2ForCausalLM     5120 27648 64 40 8 128 152064 false    32763876352 -
qwen2      Qwen2ForCausalLM     8192 29568 80 64 8 128 152064 false    72706203648 -
qwen3      Qwen3ForCausalLM     1024  3072 28 16 8 128 151936 true       596049920 -
qwen3      Qwen3ForCausalLM     2048  6144 28 16 8 128 151936 true      1720574976 -
qwen3      Qwen3ForCausalLM     2560  9728 36 32 8 128 151936 true      4022468096 -
qwen3      Qwen3ForCausalLM     4096 12288 36 32 8 128 151936 false     8190735360 -
qwen3      Qwen3ForCausalLM     5120 17408 40 40 8 128 151936 false    14768307200 -
qwen3      Qwen3ForCausalLM     5120 25600 64 64 8 128 151936 false    32762123264 -
qwen3_moe  Qwen3MoeForCausalLM  2048  6144 48 32 4 128 151936 false    30532122624 num_experts=128,num_experts_per_tok=8,moe_intermediate_size=768
qwen3_moe  Qwen3MoeForCausalLM  4096 12288 94 64 4 128 151936 false   235093634560 num_experts=128,num_experts_per_tok=8,moe_intermediate_size=1536
qwen3_next Qwen3NextForCausalLM 2048  5120 48 16 2 256 151936 false    79674391296 num_experts=512,num_experts_per_tok=10,moe_intermediate_size=512,shared_expert_intermediate_size=512,linear_conv_kernel_dim=4,linear_key_head_dim=128,linear_value_head_dim=128,linear_num_key_heads=16,linear_num_value_heads=32
"
n=0
while read -r type class hidden ffn layers heads kv hd vocab tied parameters extra; do
    [ -n "$type" ] || continue
    [ "$extra" = - ] && extra=
    jq -n --arg type "$type" --arg class "$class" --arg extra "$extra" "
        {architectures: [\$class], model_type: \$type, hidden_size: $hidden, intermediate_size: $ffn,
         num_hidden_layers: $layers, num_attention_heads: $heads, num_key_value_heads: $kv, head_dim: $hd,
         vocab_size: $vocab, tie_word_embeddings: $tied, torch_dtype: \"bfloat16\"}
        + (\$extra | split(\",\") | map(split(\"=\") | {key: .[0], value: (.[1] | tonumber)}) | from_entries)" >config.json
    expect 0 plan import --config config.json --json
    json ".output_bytes == 2 * $parameters and .model_type == \"$type\" and .skipped == []"
    n=$((n + 1))
done <<<"$sizes"
[ "$n" = 20 ] || fail "$n sizes were planned, expected 20"
done_ok
