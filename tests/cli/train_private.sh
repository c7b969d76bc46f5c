# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_private.sh - the memory of LoRA and DoRA: adapters, their optimizer state and activations are private, the model
# is not.  A model and one 40 times as large are trained alike; what the large one takes more is far less than itself.
. "$(dirname "$0")/lib.sh"

mkdir chat
for i in 1 2 3 4; do
    printf '{"input": "What is %d?", "output": "A number."}\n' $i
done >chat/training.jsonl
model_of() { # name, hidden size, layers, dtype
    expect 0 toy --arch qwen3 -o "$1" --dtype "$4" --set vocab_size=512 hidden_size="$2" num_hidden_layers="$3" \
        intermediate_size=$((3 * $2)) num_attention_heads=8 num_key_value_heads=4 head_dim=$(($2 / 8))
    cp "$data"/tokenizer/small/tokenizer*.json "$1"
    printf '{"eos_token_id": 488}' >"$1/generation_config.json"
}
# The most that a step found to be private, of three.
private_of() { # model, peft, precision
    expect 0 train qwen3_600m_finetune_config --peft "$2" hf_model="./$1" pretrained_checkpoint="./$1" dataset_path=chat \
        do_validation=false do_test=false dir=runs name="$1_$2_$3" train_iters=3 global_batch_size=2 micro_batch_size=1 \
        seq_length=32 lr_warmup_iters=1 eval_iters=0 save_interval=null mixed_precision="$3" peft_dim=4 --threads 1 \
        --no-sync -q
    jq -s 'map(.private_bytes) | max' "runs/$1_$2_$3/log.jsonl"
}

for case in "fp32 float32" "bf16_mixed bfloat16"; do
    read -r precision dtype <<<"$case"
    model_of small 128 2 "$dtype"
    model_of large 768 3 "$dtype"
    bytes=$(stat -c %s large/model.safetensors)
    [ "$bytes" -gt $((40 * $(stat -c %s small/model.safetensors))) ] || fail "the large model is not large"
    for peft in lora dora; do
        small=$(private_of small $peft "$precision")
        large=$(private_of large $peft "$precision")
        [ $((large - small)) -lt $((bytes / 3)) ] ||
            fail "$peft, $precision: $large bytes are private, $small of a small model; the large one has $bytes"
    done
    rm -r small large
done
done_ok
