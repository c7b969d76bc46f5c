# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# inspect.sh - names, dtypes, shapes and hashes of real checkpoints, and what training runs left.
. "$(dirname "$0")/lib.sh"

# expected TENSORS OBJECTS: the last run's JSON agrees with the goldens that the real tools made.
agrees() {
    jq -S '.tensors' "$out" >got
    jq -S "$1 | map_values({dtype, shape, sha256})" "$golden" >want
    diff want got >"$err" || fail "tensors differ from $golden"
    jq -S '.objects' "$out" >got
    jq -S "$2" "$golden" >want
    diff want got >"$err" || fail "objects differ from $golden"
}

n=0
for dir in "$data"/torch_dist/*/; do
    golden=$dir/expected.json
    expect 0 inspect "$dir/torch_dist" --json --hash
    silent
    json '.format == "torch_dist" and .training == null and .warnings == []'
    agrees 'del(.__objects__)' '.__objects__ | keys'
    n=$((n + 1))
done
for dir in "$data"/torch_dist_train/*/; do
    golden=$dir/expected.json
    expect 0 inspect "$dir/torch_dist" --json --hash
    agrees '.tensors' '([.objects[][0]] + ["common_state/shard_0_1"]) | unique'
    json '.training.iteration == 3 and .training.consumed_samples == 12'
    n=$((n + 1))
done
[ $n -ge 10 ] || fail "only $n checkpoints found"

# however the tensors are cut
for dir in "$data"/torch_dist/*/torch_dist_*/; do
    case $dir in *_padded/) golden=$dir/../expected_padded.json ;; *) golden=$dir/../expected.json ;; esac
    expect 0 inspect "$dir" --json --hash
    jq -S '.tensors' "$out" >got
    jq -S 'del(.__objects__) | map_values({dtype, shape, sha256})' "$golden" >want
    diff want got >"$err" || fail "tensors of $dir differ from $golden"
done

# the optimizer, in the checkpoint's own words
train() {
    expect 0 inspect "$data/torch_dist_train/$1/torch_dist" --json
    json ".training.optimizer == \"$2\" and .training.sharding == \"$3\""
}
train qwen3_dp1_fr 'adam (distributed)' fully_reshardable
train qwen3_dp2_dpr 'adam (distributed)' dp_reshardable
train qwen3_dp1_nodist adam none
train qwen3_mlm_dp1_fr 'adam (distributed)' fully_reshardable
json '.warnings == []'

# the one fixture with shifted main parameters, and only that one
for flag in '' --hash; do
    for dir in "$data"/torch_dist_train/*/; do
        expect 0 inspect "$dir/torch_dist" --json $flag
        case $dir in
        */qwen2_tied_pp2_fr/) json '.warnings | length == 1 and (.[0] | contains("do not round to the weights, first '"'"'optimizer.state.param.embedding.word_embeddings.weight"))' ;;
        *) json '.warnings == []' ;;
        esac
    done
done
expect 0 inspect "$data/torch_dist_train/qwen2_tied_pp2_fr/torch_dist"
complains 'bridge: warning: 1 stored main parameter(s) do not round'
says 'training: iteration 3, 12 consumed samples, adam (distributed), sharding fully_reshardable'

# Hugging Face: sha256 of the file's bytes, which a second tool computes from header and offset
model=$data/hf/qwen3_tied_bf16
expect 0 inspect "$model" --json --hash
silent
json '.format == "hf" and .objects == [] and .training == null'
header=$(head -c 8 "$model/model.safetensors" | od -An -tu8 | tr -d ' ')
dd if="$model/model.safetensors" of=header iflag=skip_bytes,count_bytes skip=8 count="$header" status=none
jq -r 'del(.__metadata__) | to_entries[] | "\(.key) \(.value.data_offsets[0]) \(.value.data_offsets[1])"' header |
    while read -r name begin end; do
        sum=$(dd if="$model/model.safetensors" iflag=skip_bytes,count_bytes skip=$((8 + header + begin)) \
            count=$((end - begin)) status=none | sha256sum)
        echo "$name ${sum%% *}"
    done | sort >want
jq -r '.tensors | to_entries[] | "\(.key) \(.value.sha256)"' "$out" | sort >got
diff want got >"$err" || fail "hashes of $model"

# text: one row per tensor, layers in number order; without --hash no hash
expect 0 inspect "$model"
[ "$(grep -c '^model\.' "$out")" = "$(wc -l <want)" ] || fail "rows"
says 'Hugging Face'
expect 0 inspect "$model" --json
json '.tensors | all(has("sha256") | not)'
expect 0 toy qwen3 -o many --set num_hidden_layers=11
expect 0 inspect many
grep -n 'layers\.\(2\|10\)\.input_layernorm' "$out" | sort -n | head -1 | grep -q 'layers\.2\.' || fail "order"

# a name with an escape sequence does not reach the terminal; JSON has it
mkdir evil
header='{"a\u001b[31mb":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
{ printf "\\x$(printf %x ${#header})\\0\\0\\0\\0\\0\\0\\0"; printf '%s!' "$header"; } >evil/model.safetensors
expect 0 inspect evil
says 'a\x1b[31mb'
expect 0 inspect evil --json
json '.tensors | keys == ["a\u001b[31mb"]'

# what is not there
expect 11 inspect ./nothing
complains nothing
mkdir empty
expect 11 inspect empty
complains empty
done_ok
