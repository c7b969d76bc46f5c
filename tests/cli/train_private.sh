# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_private.sh - the memory of LoRA and DoRA: adapters, their optimizer state and activations are private, the model
# is not.  A model and one 40 times as large are trained alike; what the large one takes more is far less than itself, and
# its file is mapped whole, read-only, with no page of its own.
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
# args_of MODEL PEFT PRECISION: a run of this adapter.
args_of() {
    args=(train qwen3_600m_finetune_config --peft "$2" hf_model="./$1" pretrained_checkpoint="./$1" dataset_path=chat
        do_validation=false do_test=false dir=runs name="$1_$2_$3" train_iters=3 global_batch_size=2 micro_batch_size=1
        seq_length=32 lr_warmup_iters=1 eval_iters=0 save_interval=null mixed_precision="$3" peft_dim=4 --threads 1 --no-sync)
}
# The most that a step found to be private, of three.
private_of() {
    args_of "$@"
    expect 0 "${args[@]}" -q
    jq -s 'map(.private_bytes) | max' "runs/$1_$2_$3/log.jsonl"
}
# mapped MODEL PEFT PRECISION: what the kernel says of the model's file while the run goes on; the process ends by SIGTERM.
mapped() {
    local pid line rc=0
    args_of "$@"
    mkfifo gate
    "$BRIDGE" "${args[@]}" name=long train_iters=100000 lr_decay_iters=100000 log_interval=1 >gate 2>"$err" &
    pid=$!
    {
        while read -r line && [[ $line != *'iteration '*2/* ]]; do :; done
        cat /proc/$pid/smaps >smaps
        kill -TERM $pid
        cat >/dev/null
    } <gate
    wait $pid || rc=$?
    [ $rc = 19 ] || fail "exit status $rc after SIGTERM"
    rm -r gate runs/long
    awk -v file="$1/model.safetensors" -v bytes="$(stat -c %s "$1/model.safetensors")" '
        /^[0-9a-f]+-[0-9a-f]+ / { on = substr($NF, length($NF) - length(file) + 1) == file; if (on && $2 !~ /^r--/) bad = $2 }
        on && $1 == "Size:" { size += $2 * 1024 }
        on && $1 == "Anonymous:" { own += $2 } # pages that are no longer those of the file
        END {
            if (size < bytes || own || bad) { print size " of " bytes " bytes mapped " bad ", " own " kB of them copied"; exit 1 }
        }' smaps || fail "$*"
}

for case in "fp32 float32 dora" "bf16_mixed bfloat16 lora"; do
    read -r precision dtype peft <<<"$case"
    model_of small 128 2 "$dtype"
    model_of large 768 3 "$dtype"
    bytes=$(stat -c %s large/model.safetensors)
    [ "$bytes" -gt $((40 * $(stat -c %s small/model.safetensors))) ] || fail "the large model is not large"
    small=$(private_of small "$peft" "$precision")
    large=$(private_of large "$peft" "$precision")
    [ $((large - small)) -lt $((bytes / 3)) ] ||
        fail "$peft, $precision: $large bytes are private, $small of a small model; the large one has $bytes"
    mapped large "$peft" "$precision"
    rm -r small large
done
done_ok
