# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# convert.sh - import, export, verify and roundtrip as a user types them: what they write where, what
# they say, and their JSON.
. "$(dirname "$0")/lib.sh"
model=$data/torch_dist/qwen3_moe/hf

# an import without a destination names it as the user names the model, and says what to do next
ln -s "$model" My-Model
for name in My-Model ./My-Model/ "$work/My-Model"; do
    expect 0 import "$name" -q --overwrite
    expect 0 import "$name"
    complains 'bridge: note: no --megatron-path given: writing to ./My-Model-megatron'
done
(cd "$model" && expect 0 import . -n && complains 'writing to ./hf-megatron') || exit 1
cp -rL My-Model Qwen-Toy
chmod -R u+w Qwen-Toy
expect 0 import Qwen-Toy
complains 'bridge: note: no --megatron-path given: writing to ./Qwen-Toy-megatron'
grep -Eq '^imported [0-9]+ tensors \(.*\) to .*/Qwen-Toy-megatron/iter_0000000 in ' "$out" || fail "last line"
next=$(sed -n 's/^next: bridge //p' "$out")
expect 0 $next
says 'bit for bit'
expect 0 import Qwen-Toy
says 'up to date: '
expect 0 import Qwen-Toy --json
json '.command == "import" and .status == "OK" and .up_to_date and .bytes_written == 0 and (.path | endswith("/iter_0000000"))'

# export likewise; the suffix is not repeated
expect 0 export ./Qwen-Toy-megatron
complains 'bridge: note: no --hf-path given: writing to ./Qwen-Toy-hf'
next=$(sed -n 's/^next: bridge //p' "$out")
expect 0 diff Qwen-Toy Qwen-Toy-hf
expect 0 export --hf-model Qwen-Toy --megatron-path Qwen-Toy-megatron --hf-path again --json
json '.command == "export" and .tensors > 0 and .bytes_written > 0 and .error == null and .warnings == []'
expect 0 diff Qwen-Toy again

# a hub id in the local cache, with and without a revision
export HF_HUB_CACHE=$work/hub
cache=hub/models--Qwen--Qwen-Toy
mkdir -p $cache/refs $cache/snapshots
cp -r Qwen-Toy $cache/snapshots/0123456789abcdef0123456789abcdef01234567
printf 0123456789abcdef0123456789abcdef01234567 >$cache/refs/main
mkdir elsewhere
cd elsewhere
for line in 'Qwen/Qwen-Toy' 'Qwen/Qwen-Toy@main' '--hf-model Qwen/Qwen-Toy --hf-revision 0123456789abcdef0123456789abcdef01234567'; do
    expect 0 import $line --overwrite
    complains 'writing to ./Qwen-Toy-megatron'
    expect 0 verify ../Qwen-Toy Qwen-Toy-megatron
done
expect 11 import Qwen/Qwen-Toy --hf-revision v9
complains v9
cd ..

# names that a shell would take apart are quoted
cp -r Qwen-Toy "it's a toy"
expect 0 import "it's a toy" --megatron-path 'm dir'
says "--hf-model 'it'\\''s a toy' --megatron-path 'm dir'"

# layouts and places
expect 0 import Qwen-Toy --megatron-path deep --iteration 7 --layers per-layer -q
silent
[ "$(cat deep/latest_checkpointed_iteration.txt)" = 7 ] || fail "tracker"
expect 0 inspect deep --json
json '.tensors | has("decoder.layers.1.mlp.router.weight")'
expect 0 import Qwen-Toy --megatron-path rel --release
[ -d rel/release ] || fail "no release directory"
expect 0 import Qwen-Toy --megatron-path padded --pad-vocab-to 1000
expect 0 inspect padded --json
json '.tensors["embedding.word_embeddings.weight"].shape[0] == 1000'
expect 0 export padded --hf-path unpadded --hf-model Qwen-Toy
expect 0 diff Qwen-Toy unpadded
expect 0 export deep --hf-path fused --expert-layout fused
expect 0 inspect fused --json
json '.tensors | has("model.layers.0.mlp.experts.gate_up_proj")'
expect 0 export deep --hf-path small --hf-model Qwen-Toy --max-shard-size 20KB
expect 0 export deep/iter_0000007 --hf-path sharded --max-shard-size 50KB

# casts, and verify with and without the flag
expect 0 import Qwen-Toy --megatron-path f32 --torch-dtype float32
says '--torch-dtype float32'
expect 0 verify Qwen-Toy f32 --torch-dtype float32
expect 1 verify Qwen-Toy f32
says "'embedding.word_embeddings.weight' is float32, expected bfloat16"
expect 1 verify Qwen-Toy f32 -q
mute
expect 1 verify Qwen-Toy f32 --json
json '.status == "E_DIFF" and (.notes | length > 3) and (.error | contains("difference"))'

# a dry run writes nothing
expect 0 import Qwen-Toy --megatron-path dry --dry-run
says 'peak private memory'
[ ! -e dry ] || fail "a dry run wrote"

# errors leave no output; with --json the object says which
expect 9 import Qwen-Toy --megatron-path Qwen-Toy-hf --json
json '.status == "E_EXISTS" and (.error | length > 10)'
complains 'bridge: '
expect 11 import ./none
[ ! -e none-megatron ] || fail "a failed import wrote"
expect 11 export ./none

# lines, not a bar, when stderr is no terminal; none with --no-progress
expect 0 import Qwen-Toy --megatron-path p --no-progress
grep -q '%' "$err" && fail "progress"
printf '\r' | grep -qFf - "$err" && fail "a bar without a terminal"

# the whole trip
mkdir tmp
export TMPDIR=$work/tmp
expect 0 roundtrip Qwen-Toy
says 'bit for bit'
complains 'bridge: note: working in '
[ -z "$(ls tmp)" ] || fail "a temporary directory is left"
expect 0 roundtrip "$data/hf/qwen3_fp8" --json
json '.status == "OK" and (.bitwise | not)'
[ "$(jq '.warnings | length' "$out")" = "$(jq '.warnings | unique | length' "$out")" ] || fail "repeated"
expect 0 roundtrip --hf-model Qwen-Toy --output-dir both
says 'kept: both/megatron, both/hf'
expect 0 diff both/hf Qwen-Toy
cp -r Qwen-Toy broken
truncate -s -5 broken/model.safetensors
expect 4 roundtrip broken
complains 'import: '
[ -z "$(ls tmp)" ] || fail "a failed trip left its directory"
done_ok
