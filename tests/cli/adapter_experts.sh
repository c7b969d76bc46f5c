# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# adapter_experts.sh - LoRA of routed experts and routers: a recorded run of Megatron Bridge, its checkpoint and its
# export for peft; adapters that differ between experts; what is refused by name.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
case=$data/train/qwen3_moe_lora
model=$case/model

# Megatron Bridge's numbers and its adapter after ten steps; the same from its checkpoint of the fifth.
typed "$case" "$model"
expect 0 train "${args[@]}" save_interval=null dir=runs name=lora --no-sync
says "trained: LoRA, $(st_header "$case/init_trainable.safetensors" |
    jq 'del(.__metadata__) | [.[].shape | .[0] * .[1]] | add')"
compared "$case" runs/lora/log.jsonl
near_adapter "$case" runs/lora "$model"
expect 0 train "${args[@]}" load="$case/ckpt" save_interval=null dir=runs name=resumed --no-sync
compared "$case" runs/resumed/log.jsonl 6
near_adapter "$case" runs/resumed "$model"

# Whatever the number of threads.
expect 0 train "${args[@]}" train_iters=3 --threads 3 dir=runs name=three --no-sync
cmp <(jq -c '[.lm_loss, .grad_norm]' runs/three/log.jsonl) <(jq -c '[.lm_loss, .grad_norm]' runs/lora/log.jsonl | head -n 3) ||
    fail "three threads, other numbers"

# What Megatron Bridge exported, within what training may differ.
expect 0 adapter export runs/lora/checkpoints peft --hf-model "$model"
says 'LoRA of rank 8 on 34 weights'
near_tensors "$case/adapter_hf_10/adapter_model.safetensors" peft/adapter_model.safetensors 2e-4
cmp <(jq -S 'del(.base_model_name_or_path)' "$case/adapter_hf_10/adapter_config.json") \
    <(jq -S 'del(.base_model_name_or_path)' peft/adapter_config.json) || fail "adapter_config.json"

# Back, bit for bit; and a run begins with it.
expect 0 adapter import peft back --hf-model "$model"
expect 0 adapter verify back peft --hf-model "$model"
expect 0 adapter verify runs/lora/checkpoints peft --hf-model "$model"
expect 0 adapter export back again --hf-model "$model"
cmp peft/adapter_model.safetensors again/adapter_model.safetensors || fail "the adapter differs after the way back"
grep -q share_expert_adapters back/iter_0000000/run_config.yaml && fail "the experts share their adapters"
expect 0 train "${args[@]}" adapter_init=peft train_iters=1 lr_warmup_iters=0 dir=runs name=begun --no-sync
jq -s -e --slurpfile log runs/lora/log.jsonl '.[0].lm_loss < $log[0].lm_loss - 0.01' runs/begun/log.jsonl >/dev/null ||
    fail "a run that begins with an adapter begins where that ended"

# Beside the weights as in them.
for how in '' --merge-adapter; do
    expect 0 logits --hf-model "$model" --adapter peft $how --input-ids 5,9,2,77,31,4 --dtype float32 \
        -o "logits$how.safetensors"
done
near_tensors logits.safetensors logits--merge-adapter.safetensors 2e-5
expect 0 logits --hf-model "$model" --input-ids 5,9,2,77,31,4 --dtype float32 -o without.safetensors
(near_tensors logits.safetensors without.safetensors 0.1) >differs && fail "the adapter changes nothing"
expect 0 generate --hf-model "$model" --adapter peft --input-ids 5,9,2 --max-new-tokens 3
expect 0 adapter merge peft merged --hf-model "$model"
expect 0 adapter merge back merged_too --hf-model "$model"
expect 0 diff merged merged_too

# Adapters of their own for some experts: carried over, not trained.
cp -r peft apart
flip_byte apart/adapter_model.safetensors 11500 # of an expert's up_proj.lora_B
expect 1 adapter verify back apart --hf-model "$model"
says '.experts.'
expect 0 adapter import apart apart_back --hf-model "$model"
grep -q '^  share_expert_adapters: false$' apart_back/iter_0000000/run_config.yaml || fail "run_config.yaml"
expect 0 adapter verify apart_back apart --hf-model "$model"
expect 0 adapter export apart_back apart_again --hf-model "$model"
cmp apart/adapter_model.safetensors apart_again/adapter_model.safetensors || fail "they differ after the way back"
expect 12 train "${args[@]}" adapter_init=apart dir=runs name=apart --no-sync
complains 'differ between experts'
expect 12 train "${args[@]}" load=apart_back finetune=true dir=runs name=apart --no-sync
complains "differs between experts (3): adapters of their own"

# DoRA of them does not exist.
for target in linear_fc1 router; do
    expect 12 train "${args[@]}" --peft dora adapter_init=null "peft_target_modules=[\"$target\"]" dir=runs name=dora
    complains 'there is no DoRA of'
done
expect 0 train "${args[@]}" --peft dora adapter_init=null 'peft_target_modules=["*.self_attention.linear_*"]' train_iters=1 \
    lr_warmup_iters=0 dir=runs name=dora --no-sync
done_ok
