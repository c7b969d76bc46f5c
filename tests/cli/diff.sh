# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# diff.sh - two checkpoints, key by key.
. "$(dirname "$0")/lib.sh"

a=$data/torch_dist/qwen3/torch_dist
for b in "$data"/torch_dist/qwen3/torch_dist*; do
    expect 0 diff "$a" "$b"
    says 'equal: all '
    silent
done
expect 0 diff "$data/hf/qwen2_sharded_fp32" "$data/hf/qwen2_sharded_fp32" --json
json '.equal and .differences == [] and .tensors_a == .tensors_b'

# keys, dtypes, shapes: each difference is a line, in key order
"$BRIDGE" toy qwen3 -o x --set num_hidden_layers=3 >"$out"
"$BRIDGE" toy qwen3 -o y --set num_hidden_layers=2 >"$out"
"$BRIDGE" toy qwen3 -o wide --set num_hidden_layers=3 vocab_size=384 >"$out"
"$BRIDGE" toy qwen3 -o f32 --set num_hidden_layers=3 --dtype float32 >"$out"
expect 1 diff x y
says "only in A: 'model.layers.2.mlp.up_proj.weight' bfloat16 [96, 64]"
grep -q 'only in B' "$out" && fail "nothing is only in B"
complains 'tensors differ'
expect 1 diff y x
says "only in B: 'model.layers.2.mlp.up_proj.weight' bfloat16 [96, 64]"
expect 1 diff x wide
says "shape of 'model.embed_tokens.weight': [320, 64] in A, [384, 64] in B"
expect 1 diff x f32
says "dtype of 'model.norm.weight': bfloat16 in A, float32 in B"
[ "$(wc -l <"$out")" = 36 ] || fail "one line a tensor"

# bytes: how many elements, and where
cp -r x z
flip_byte z/model.safetensors 1
for threads in 1 4; do
    expect 1 diff x z -j $threads
    [ "$(wc -l <"$out")" = 1 ] || fail "one tensor differs"
    grep -Eq "^bytes of '[a-z0-9_.]+': 1 of [0-9]+ elements differ, first at [0-9]+$" "$out" || fail "words"
done
expect 1 diff x z --json
json '(.equal | not) and (.differences | length == 1)'
expect 1 diff x z -q
mute

# a conversion is not a difference
expect 2 diff "$data/torch_dist/qwen3/hf" "$a"
complains 'bridge verify --hf-model'
expect 11 diff x nothing
done_ok
