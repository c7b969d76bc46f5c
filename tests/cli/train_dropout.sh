# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_dropout.sh - dropout of adapters: what is dropped is a function of seed, step, token and adapter alone.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
model=$data/train/qwen2_sft/model

numbers() { jq -c 'select(has("split") | not) | [.iteration, .lm_loss, .grad_norm]' "runs/$1/log.jsonl"; }
same() { cmp <(numbers "$1") <(numbers "$2") || fail "$1 and $2 differ"; }
differ() {
    ! cmp -s <(numbers "$1") <(numbers "$2") || fail "$1 and $2 have the same numbers"
}
run() {
    local name=$1
    shift
    expect 0 train "${args[@]}" save_interval=null dir=runs name="$name" --no-sync -q "$@"
}

typed "$data/train/qwen2_lora" "$model"
run plain
run zero peft_dropout=0
same plain zero
run pre peft_dropout=0.3 --threads 1
run pre_3 peft_dropout=0.3 --threads 3
same pre pre_3
differ plain pre
run post peft_dropout=0.3 peft_dropout_position=post
differ pre post
differ plain post
run seed peft_dropout=0.3 rng_seed=77
differ pre seed
run full peft_dropout=0.3 recompute_granularity=full recompute_method=uniform recompute_num_layers=1
same pre full

# A token loses the same in any cut of the batch; sums of floats differ in their last digits.
run cut peft_dropout=0.3 micro_batch_size=4 calculate_per_token_loss=true
run whole peft_dropout=0.3 micro_batch_size=1 calculate_per_token_loss=true
paste <(numbers cut | tr -d '[]' | tr , ' ') <(numbers whole | tr -d '[]' | tr , ' ') |
    awk '{ d = $2 - $5; if (d > 1e-5 || d < -1e-5) exit 1 }' || fail "the cut of the batch decides what is dropped"

# So it does on any ranks: those of data (finetuning deals samples out in turn), tensor, sequence, context and experts.
# near A B WHAT: losses of two runs.
near() {
    paste <(numbers "$1" | tr -d '[]' | tr , ' ') <(numbers "$2" | tr -d '[]' | tr , ' ') |
        awk '{ d = $2 - $5; if (d > 1e-5 || d < -1e-5) exit 1 }' || fail "other elements are dropped: $3"
}
# begin CASE: `args` without a dropout; alone: a run of it on one rank for each place of the dropout.
begin() {
    typed "$data/train/$1" "$2"
    args+=(peft_dropout=0.3 micro_batch_size=1 calculate_per_token_loss=true moe_aux_loss_coeff=0 tp=1 pp=1 cp=1 ep=1
        etp=1 vpp=null sequence_parallel=false)
    rm -rf runs/one_pre runs/one_post
    run one_pre
    run one_post peft_dropout_position=post
}
ranks() {
    local position=$1 n=$2 alone=("${args[@]}")
    shift 2
    args=("${args[@]/--single-rank/--ranks=$n}" "peft_dropout_position=$position")
    rm -rf runs/over
    run over "$@"
    args=("${alone[@]}")
    near over "one_$position" "$position, over $n ranks, $*"
}
begin qwen2_lora "$model"
ranks pre 2
ranks pre 2 tp=2
ranks post 2 tp=2 sequence_parallel=true
ranks pre 2 cp=2
ranks post 4 cp=2 pp=2
begin qwen3_moe_lora "$data/train/qwen3_moe_lora/model"
run cut_moe micro_batch_size=2
near cut_moe one_pre 'experts, by the cut of the batch'
ranks pre 2 ep=2
ranks post 2 ep=2
ranks pre 2 tp=2 etp=2 sequence_parallel=true
ranks pre 2 etp=2 # whose rows, of batches of their own, would be of several lengths
ranks post 4 tp=2 ep=2 etp=2 sequence_parallel=true
typed "$data/train/qwen2_lora" "$model"

# A run that ends and goes on is the one that does not.
expect 0 train "${args[@]}" peft_dropout=0.3 save_interval=4 exit_interval=4 dir=runs name=again --no-sync -q
expect 0 train "${args[@]}" peft_dropout=0.3 save_interval=4 dir=runs name=again --no-sync -q
same pre again
for name in pre again; do
    expect 0 adapter export runs/$name/checkpoints $name --hf-model "$model" --no-sync
done
cmp pre/adapter_model.safetensors again/adapter_model.safetensors || fail "another adapter after going on"

# Evaluation drops nothing: after a step at rate 0 it finds the adapter that both begin with.
cp -r "$data/train/qwen2_lora/data" data
cp data/training.jsonl data/validation.jsonl
for p in 0 0.6; do
    run eval_$p peft_dropout=$p dataset_path=data do_validation=true train_iters=1 lr_decay_iters=4 eval_interval=1 eval_iters=2
done
cmp <(jq -c 'select(.split) | .lm_loss' runs/eval_0/log.jsonl) <(jq -c 'select(.split) | .lm_loss' runs/eval_0.6/log.jsonl) ||
    fail "evaluation drops"
jq -s -e 'any(.[]; .split)' runs/eval_0/log.jsonl >/dev/null || fail "no evaluation"
differ eval_0 eval_0.6

# DoRA, whose own product sees all; in bfloat16, too; routed experts and a router.
typed "$data/train/qwen2_dora" "$model"
run dora
run dora_pre peft_dropout=0.3
differ dora dora_pre
run dora_outside peft_dropout=0.3 dora_qkv_bias=outside
differ dora_pre dora_outside
run dora_bf16 peft_dropout=0.3 mixed_precision=bf16_mixed
expect 12 train "${args[@]}" peft_dropout=0.3 peft_dropout_position=post dir=runs name=no
complains 'DoRA drops what the adapter sees'
expect 5 train "${args[@]}" peft_dropout=1 dir=runs name=no
complains 'expected 0 to less than 1'
typed "$data/train/qwen3_moe_lora" "$data/train/qwen3_moe_lora/model"
run moe peft_dropout=0.3 --threads 1
run moe_3 peft_dropout=0.3 --threads 3
same moe moe_3
run moe_none
differ moe moe_none
done_ok
