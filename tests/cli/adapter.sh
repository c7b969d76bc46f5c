# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# adapter.sh - bridge adapter: what recorded LoRA and DoRA runs of Megatron Bridge end with, exported for peft, back
# again, and added to the model.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
runs=$data/train
base=$data/hf/qwen2_tied_fp32
model=$runs/qwen2_sft/model

# LoRA: the adapter that Megatron Bridge exported after its run, within what training may differ; its configuration.
typed "$runs/qwen2_lora" "$model"
expect 0 train "${args[@]}" save_interval=null dir=runs name=lora --no-sync
expect 0 adapter export runs/lora/checkpoints lora --hf-model "$model"
says 'exported to lora: LoRA of rank 8 on 14 weights'
silent
near_tensors "$runs/qwen2_lora/adapter_hf_10/adapter_model.safetensors" lora/adapter_model.safetensors 2e-4
cmp <(jq -S 'del(.base_model_name_or_path)' "$runs/qwen2_lora/adapter_hf_10/adapter_config.json") \
    <(jq -S 'del(.base_model_name_or_path)' lora/adapter_config.json) || fail "adapter_config.json"
jq -e --arg m "$model" '.base_model_name_or_path == $m' lora/adapter_config.json >/dev/null || fail "the base"
expect 9 adapter export runs/lora/checkpoints lora --hf-model "$model"
complains "--overwrite replaces it"
expect 0 adapter export runs/lora/checkpoints lora --hf-model "$model" --overwrite --json
json '.status == "OK" and .weights == 14 and .tensors == 28 and .dim == 8 and .dora == false and .warnings == []'
touch lora/mine
expect 9 adapter export runs/lora/checkpoints lora --hf-model "$model" --overwrite
complains "holds 'mine'"
rm lora/mine

# DoRA in Megatron Bridge's form: numbers of the run, magnitudes after it; the form that peft has is another model.
typed "$runs/qwen2_dora" "$model"
expect 0 train "${args[@]}" save_interval=null dir=runs name=dora --no-sync
compared "$runs/qwen2_dora" runs/dora/log.jsonl
near_adapter "$runs/qwen2_dora" runs/dora "$model"
expect 0 train "${args[@]}" dora_qkv_bias=outside save_interval=null dir=runs name=outside --no-sync
(compared "$runs/qwen2_dora" runs/outside/log.jsonl) >differs && fail "where the bias stands makes no difference"
expect 0 adapter export runs/outside/checkpoints dora --hf-model "$model"
silent
jq -e '.use_dora and .r == 8 and .lora_alpha == 16 and (has("bridge_dora_bias_inside") | not)' dora/adapter_config.json \
    >/dev/null || fail "adapter_config.json"

# The checkpoint knows its form, so nothing has to be said again: of the export, beside the weights and in them.
expect 0 adapter export runs/dora/checkpoints inside --hf-model "$model"
complains 'scale the bias of query, key and value'
jq -e '.use_dora and .bridge_dora_bias_inside' inside/adapter_config.json >/dev/null || fail "adapter_config.json"
sed 's/"bridge_dora_bias_inside": true,//' inside/adapter_config.json >moved.json
cp -r inside moved
mv moved.json moved/adapter_config.json
logits_of() { expect 0 logits --hf-model "$model" --input-ids 5,9,2,77,31,4 --dtype float32 --overwrite "$@"; }
logits_of --adapter inside -o beside.safetensors
logits_of --adapter inside --merge-adapter -o within.safetensors
near_tensors beside.safetensors within.safetensors 2e-5
logits_of --adapter moved -o moved.safetensors
(near_tensors beside.safetensors moved.safetensors 1e-3) >differs && fail "where the bias stands makes no difference"
expect 1 adapter verify runs/dora/checkpoints moved --hf-model "$model"
says 'the magnitudes of the Megatron checkpoint alone scale the bias'
expect 0 adapter verify runs/dora/checkpoints inside --hf-model "$model"
expect 0 adapter import inside inside_back --hf-model "$model"
expect 0 adapter export inside_back inside_again --hf-model "$model"
cmp inside/adapter_config.json inside_again/adapter_config.json || fail "the form is lost on the way back"
typed "$runs/qwen2_dora" "$model"
expect 5 train "${args[@]}" dora_qkv_bias=outside dir=runs name=dora train_iters=11 lr_decay_iters=11
complains 'dora_qkv_bias=inside goes on with it'
expect 5 train "${args[@]}" dora_qkv_bias=outside adapter_init=inside dir=runs name=other
complains "adapter_init 'inside': its magnitudes scale the bias"
expect 0 train "${args[@]}" adapter_init=inside train_iters=1 lr_warmup_iters=0 dir=runs name=begun --no-sync

# Both ways, bit for bit.
for kind in lora dora; do
    expect 0 adapter import $kind back_$kind --hf-model "$model"
    expect 0 adapter verify back_$kind $kind --hf-model "$model"
    says 'equal to'
    expect 0 adapter export back_$kind again_$kind --hf-model "$model"
    cmp $kind/adapter_model.safetensors again_$kind/adapter_model.safetensors || fail "$kind differs after the way back"
    cmp $kind/adapter_config.json again_$kind/adapter_config.json || fail "$kind differs after the way back"
    [ -e back_$kind/iter_0000000/.metadata ] || fail "not iteration 0"
    grep -q '^  alpha: 16$' back_$kind/iter_0000000/run_config.yaml || fail "run_config.yaml lacks alpha"
    expect 9 adapter import $kind back_$kind --hf-model "$model"
done
expect 1 adapter verify back_dora lora --hf-model "$model"
says 'only the Megatron checkpoint is DoRA'
says 'the values differ'
expect 0 adapter verify runs/outside/checkpoints dora --hf-model "$model"
cp -r lora other
flip_byte other/adapter_model.safetensors 1
expect 1 adapter verify back_lora other --hf-model "$model"
says 'base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight: the values differ'

# Merged, from either form: the model that has the adapter beside its weights.
mv inside_back back_inside
for kind in lora dora inside; do
    expect 0 adapter merge $kind merged_$kind --hf-model "$model"
    expect 0 adapter merge back_$kind merged_too --hf-model "$model" --threads 1
    expect 0 diff merged_$kind merged_too
    rm -r merged_too
    [ -e merged_$kind/tokenizer.json ] || fail "no tokenizer"
    expect 0 logits --hf-model merged_$kind --input-ids 5,9,2,77,31,4 --dtype float32 -o merged.safetensors --overwrite
    expect 0 logits --hf-model "$model" --adapter $kind --input-ids 5,9,2,77,31,4 --dtype float32 -o beside.safetensors --overwrite
    near_tensors merged.safetensors beside.safetensors 0.05
    expect 1 diff merged_$kind "$model"
done
# An adapter of peft's own, in which q, k and v differ in lora_A: Megatron's one A holds them all, and what is added to
# the weights is the same to the last bit; a run begins with it, at the larger rank.
for kind in qwen2_lora qwen2_dora; do
    rank=$(jq .r "$data/adapters/$kind/adapter_config.json") alpha=$(jq .lora_alpha "$data/adapters/$kind/adapter_config.json")
    expect 0 adapter import "$data/adapters/$kind" wide_$kind --hf-model "$base"
    complains "of rank $((3 * rank)) in place of $rank"
    expect 0 adapter export wide_$kind wide_peft_$kind --hf-model "$base"
    jq -e --argjson r "$rank" --argjson alpha "$alpha" '.r == 3 * $r and .lora_alpha == 3 * $alpha' \
        wide_peft_$kind/adapter_config.json >/dev/null || fail "$kind: rank or alpha"
    expect 0 adapter merge "$data/adapters/$kind" peft_$kind --hf-model "$base"
    expect 0 adapter merge wide_$kind wide_merged_$kind --hf-model "$base"
    expect 0 diff peft_$kind wide_merged_$kind
    expect 0 logits --hf-model peft_$kind --input-ids 5,9,2,77,31,4 -o merged.safetensors --overwrite
    expect 0 logits --hf-model "$base" --adapter "$data/adapters/$kind" --merge-adapter --input-ids 5,9,2,77,31,4 \
        -o inside.safetensors --overwrite
    cmp merged.safetensors inside.safetensors || fail "$kind: merged files and merged weights differ"
done

# A run begins with peft's directory as with Megatron's names; its scale must be the run's.
typed "$runs/qwen2_lora" "$model"
expect 0 train "${args[@]}" adapter_init=lora train_iters=2 lr_warmup_iters=1 dir=runs name=from_peft --no-sync
expect 0 train "${args[@]}" adapter_init=again_lora train_iters=2 lr_warmup_iters=1 dir=runs name=from_again --no-sync
cmp <(jq -c '[.lm_loss, .grad_norm]' runs/from_peft/log.jsonl) <(jq -c '[.lm_loss, .grad_norm]' runs/from_again/log.jsonl)
jq -s -e --slurpfile log runs/lora/log.jsonl '.[0].lm_loss < $log[0].lm_loss - 0.01' runs/from_peft/log.jsonl >/dev/null ||
    fail "a run that begins with an adapter begins where that ended"
expect 5 train "${args[@]}" adapter_init=lora peft_alpha=32 dir=runs name=scale
complains "adapter_init 'lora': its lora_alpha 16"

# What is no adapter, or of another model.
expect 2 adapter export runs/lora/checkpoints somewhere
complains '--hf-model'
expect 11 adapter export absent somewhere --hf-model "$model"
expect 0 import --hf-model "$model" --megatron-path whole -q
expect 8 adapter export whole somewhere --hf-model "$model"
complains 'is no checkpoint of adapters'
expect 8 adapter export runs/lora/checkpoints somewhere --hf-model "$runs/qwen3/hf"
expect 8 adapter merge lora somewhere --hf-model "$runs/qwen3/hf"
[ ! -e somewhere ] || fail "something was written"
expect 12 train qwen3_next_80b_a3b_finetune_config --peft lora --single-rank
complains 'PEFT (LoRA/DoRA) finetuning is not currently available for Qwen3-Next models'
done_ok
