# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# logits.sh - `bridge logits`: what it writes, against transformers' goldens; ranks, adapters, both
# formats; input that is wrong.
. "$(dirname "$0")/lib.sh"
one_thread

# header FILE: the JSON of a safetensors file.  values FILE NAME: a float32 tensor, a number a line.
size_of() { od -An -tu8 -N 8 "$1" | tr -d ' '; }
header() { head -c $(($(size_of "$1") + 8)) "$1" | tail -c +9; }
values() {
    local from to
    read -r from to < <(header "$1" | jq -r --arg n "$2" '.[$n].data_offsets | "\(.[0]) \(.[1])"')
    od -An -v -w4 -tf4 -j $((8 + $(size_of "$1") + from)) -N $((to - from)) "$1"
}
# close A NAME B NAME TOLERANCE: two tensors differ by no more.
close() {
    values "$1" "$2" >a
    values "$3" "$4" >b
    paste a b | awk -v t="$5" '{d = $1 - $2; if (d < 0) d = -d; if (d > m) m = d}
        END {if (NR == 0 || NF != 2 || m > t) {print NR " numbers, differ by " m; exit 1}}' ||
        fail "$2 of $1 and $4 of $3"
}

model=$data/hf/qwen3_tied_bf16
golden=$data/hf_golden/qwen3_tied_bf16
short=$(jq -r '.input_ids_short | join(",")' "$golden/golden.json")
long=$(jq -r '.input_ids_long | join(",")' "$golden/golden.json")
f32=(--dtype float32)

expect 0 logits --hf-model "$model" --input-ids "$short" "${f32[@]}" --output short.safetensors --hidden-states
says "for 13 tokens to short.safetensors"
close short.safetensors logits "$golden/golden.safetensors" logits_short 1e-4
layers=$(jq .num_hidden_layers "$model/config.json")
for name in $(seq -f hidden.%g 0 "$layers") hidden.norm; do
    close short.safetensors "$name" "$golden/golden.safetensors" "$name" 1e-4
done
header short.safetensors | jq -e --argjson n "$layers" '(keys | length) == $n + 3 and .logits.dtype == "F32"
    and .logits.shape[0] == 13' >/dev/null || fail "names and shapes"
expect 0 logits "$model" --input-ids "$short" -o plain.safetensors --json
json '.path == "plain.safetensors" and .tokens == 13 and .tensors == ["logits"] and (has("loss") | not)'
tr , ' ' <<<"$long" >ids.txt
expect 0 logits "$model" --input_ids ids.txt "${f32[@]}" -o long.safetensors --grads --json
close long.safetensors logits "$golden/golden.safetensors" logits_long 1e-4
json "(.loss - $(jq .train.loss "$golden/golden.json")) | fabs < 2e-5"
for name in model.embed_tokens.weight model.layers.1.self_attn.q_norm.weight model.layers.0.mlp.down_proj.weight; do
    close long.safetensors "grad.$name" "$golden/golden_grads.safetensors" "grad.$name" 1e-5
done
header "$model/model.safetensors" | jq -c '[keys[] | select(. != "__metadata__" and . != "lm_head.weight")]' >names
header long.safetensors | jq -c '[keys[] | select(startswith("grad.")) | .[5:]]' >grads
cmp names grads || fail "a gradient for every parameter"

# every spelling of config.json
for spelling in "$data"/hf/*/config.v*.json; do
    rm -rf spelt
    cp -r "$(dirname "$spelling")" spelt
    chmod -R u+w spelt
    for name in as_is other; do
        expect 0 logits spelt --input-ids "$(seq -s, 39)" "${f32[@]}" -o $name.safetensors --overwrite
        cp "$spelling" spelt/config.json
    done
    cmp as_is.safetensors other.safetensors || fail "$spelling"
done

# from Megatron, and shared by ranks
"$BRIDGE" import "$model" --megatron-path megatron --no-sync --quiet >/dev/null
for flags in "--megatron-path megatron" "--hf-model $model --megatron-path megatron --threads 1" "--hf-model $model --pp 2" \
    "--megatron-path megatron --tp 2"; do
    read -ra words <<<"$flags"
    expect 0 logits "${f32[@]}" "${words[@]}" --input-ids ids.txt -o ranks.safetensors --overwrite --grads --hidden-states
    close ranks.safetensors logits "$golden/golden.safetensors" logits_long 1e-4
    close ranks.safetensors loss long.safetensors loss 2e-6
    close ranks.safetensors grad.model.layers.1.self_attn.k_proj.weight long.safetensors grad.model.layers.1.self_attn.k_proj.weight 1e-5
done

# the aux loss of a router, and the further prediction
moe=$data/hf/qwen3_moe_bf16 moe_golden=$data/hf_golden/qwen3_moe_bf16
expect 0 logits "$moe" --input-ids "$(jq -r '.input_ids_long | join(",")' "$moe_golden/golden.json")" "${f32[@]}" \
    --grads --aux-loss -o moe.safetensors --json
json "(.aux_loss - $(jq .train.aux.aux_loss "$moe_golden/golden.json")) | fabs < 1e-4"
name=$(header "$moe_golden/golden_grads.safetensors" | jq -r '[keys[] | select(startswith("grad_aux."))][0]')
close moe.safetensors "$name" "$moe_golden/golden_grads.safetensors" "$name" 1e-5
expect 0 logits "$data/hf/qwen3_next_mtp_bf16" --input-ids 5,6,7,8 "${f32[@]}" --mtp --grads -o mtp.safetensors
header mtp.safetensors | jq -e '."mtp.logits".shape == .logits.shape and has("mtp.loss") and
    has("grad_mtp.mtp.fc.weight")' >/dev/null || fail "--mtp"

# adapters: the golden logits beside the weights and merged, and gradients of the adapter alone
for kind in qwen2_lora qwen3_dora; do
    adapter=$data/adapters/$kind
    base=$data/hf/$(jq -r .base "$adapter/golden.json" | sed 's|.*/||')
    adapter_ids=$(jq -r '.input_ids_short | join(",")' "$adapter/golden.json")
    for how in --quiet --merge-adapter; do
        expect 0 logits "$base" --input-ids "$adapter_ids" "${f32[@]}" --adapter "$adapter" $how -o adapter.safetensors --overwrite
        close adapter.safetensors logits "$adapter/golden.safetensors" logits_short 1e-4
    done
    expect 0 logits "$base" --input-ids "$adapter_ids" "${f32[@]}" --adapter "$adapter" --grads -o adapter.safetensors --overwrite
    header adapter.safetensors | jq -e '[keys[] | select(startswith("grad."))] | length > 0 and all(contains(".lora_"))' \
        >/dev/null || fail "gradients of the adapter alone"
done

# ---- what is wrong says so -----------------------------------------------------------------------------

refused() { # STATUS TEXT ARGUMENT...
    expect "$1" logits "${@:3}"
    complains "$2"
    mute
}
cp short.safetensors kept
refused 9 "'short.safetensors' exists; give --overwrite to replace it" "$model" --input-ids 1 -o short.safetensors
cmp short.safetensors kept || fail "the file is touched"
refused 2 "'logits' needs --output FILE" "$model" --input-ids 1
refused 2 "'logits' needs --input-ids 1,2,3|FILE" "$model" -o x
refused 2 "option '--prompt' is not for 'logits'" "$model" --prompt x --input-ids 1 -o x
refused 2 "a loss needs at least 2 tokens" "$model" --input-ids 1 --grads -o x
refused 2 "'--aux-loss' needs --grads" "$moe" --input-ids 1,2 --aux-loss -o x
refused 2 "'--aux-loss' is for models with routed experts" "$model" --input-ids 1,2 --grads --aux-loss -o x
refused 12 "the model has 0 multi-token-prediction layers; expected 1" "$model" --input-ids 1,2 --mtp -o x
refused 2 "is outside the vocabulary" "$model" --input-ids 1,99999 -o x
refused 2 "max_position_embeddings" "$model" --input-ids "$(seq -s, 1000)" -o x
refused 11 "no backend" "$model" --input-ids 1 --device none -o x
refused 3 "no/x" "$model" --input-ids 1 -o no/x
refused 8 "which the model has not" "$moe" --input-ids 1,2 --adapter "$data/adapters/qwen3_lora" -o x
[ ! -e x ] || fail "a file is left behind"

cp -r "$model" nan
chmod -R u+w nan
printf '\377\177' | dd of=nan/model.safetensors bs=1 seek=$(($(stat -c %s nan/model.safetensors) - 2)) conv=notrunc status=none
refused 16 "has NaN or infinite values" nan --input-ids 1,2 -o x
done_ok
