# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# libtrain.sh - recorded runs of Megatron Bridge typed as `bridge train`, and their numbers compared.  Sourced after
# lib.sh; a case is a directory with case.json and steps.json, as fixtures/train/README.md describes them.
# As one_thread of lib.sh, which scripts/test-oracle does not have.
export BRIDGE_CPUS=${BRIDGE_CPUS:-1}

# The settings of pretraining that a case says otherwise than the recipe.
pretrain_filter='
def opt($k; $v): if $v == null then empty else "\($k)=\($v)" end;
"hf_model=\($model)", "pretrained_checkpoint=\($model)", "data_paths=\($case)/data", "dataset_split=\(.data.split)",
"seq_length=\(.seq)", "micro_batch_size=\(.mbs)", "global_batch_size=\(.gbs)", "train_iters=\(.iters)",
"lr=\(.lr)", "min_lr=\(.min_lr)", "lr_warmup_iters=\(.warmup)", "adam_eps=\(.eps)", "adam_beta2=\(.beta2)",
"dataset_seed=\(.seed)", "rng_seed=\(.rng_seed // 1234)", "eval_iters=0", "save_interval=\(.save_interval)",
"tokenizer_type=HuggingFaceTokenizer", "tokenizer_vocab_size=null",
"mixed_precision=\(if .prec == "bf16" then "bf16_mixed" else "fp32" end)", "cross_entropy_fusion_impl=native",
"cross_entropy_loss_fusion=\((.ce_fusion // (.prec == "bf16")) and (.family | startswith("qwen3_next") | not))",
"start_weight_decay=\(.wd)", "end_weight_decay=\(.end_wd // .wd)", opt("weight_decay_incr_style"; .wd_style),
opt("lr_decay_style"; .decay_style), opt("lr_wsd_decay_style"; .wsd[0]?), opt("lr_wsd_decay_iters"; .wsd[1]?),
opt("lr_warmup_init"; .warmup_init), opt("clip_grad"; .clip), opt("eod_mask_loss"; .data.flags.eod_mask_loss),
opt("calculate_per_token_loss"; .per_token), opt("moe_aux_loss_coeff"; .model.moe_aux_loss_coeff),
(select(.family | startswith("qwen3_next")) | "mp_grad_reduce_in_fp32=true",
 (select(.optim.apply_wd_to_qk_layernorm | not) | "no_weight_decay_cond_type=null"))'

# The same of finetuning.
finetune_filter='
def opt($k; $v): if $v == null then empty else "\($k)=\($v)" end;
"hf_model=\($model)", "pretrained_checkpoint=\($model)", "dataset_path=\($case)/data", "do_validation=false",
"dataset_kwargs=\({prompt_template: .sft.template, answer_only_loss: .sft.answer_only} | tojson)",
"seq_length=\(.seq)", "micro_batch_size=\(.mbs)", "global_batch_size=\(.gbs)", "train_iters=\(.iters)",
"lr=\(.lr)", "min_lr=\(.min_lr)", "lr_warmup_iters=\(.warmup)", "lr_decay_iters=\(.iters)", "adam_eps=\(.eps)",
"adam_beta2=\(.beta2)", "dataset_seed=\(.seed)", "rng_seed=\(.rng_seed)", "eval_iters=0",
"save_interval=\(.save_interval)", "start_weight_decay=\(.wd)", "end_weight_decay=\(.wd)",
"mixed_precision=\(if .prec == "bf16" then "bf16_mixed" else "fp32" end)", "cross_entropy_fusion_impl=native",
"cross_entropy_loss_fusion=\(.prec == "bf16")", "calculate_per_token_loss=\(.per_token // false)",
(select(.sft.pack) | "packed_sequence=true", "packed_sequence_size=\(.sft.pack)"),
(select(.model.moe_aux_loss_coeff) | "moe_aux_loss_coeff=\(.model.moe_aux_loss_coeff)"),
(select(.peft == "dora") | "dora_qkv_bias=inside"), opt("peft_target_modules"; .targets), (select(.peft) | "peft_dim=8", "peft_alpha=16", "adapter_init=\($case)/init_trainable.safetensors")'

# typed CASE [MODEL]: `args` is what follows `bridge train` for it; MODEL where the case has no hf/ of its own.
typed() {
    local case=$1 model=${2:-$1/hf} family recipe kind=pretrain filter=$pretrain_filter peft
    family=$(jq -r .family "$case/case.json")
    case $family in
    qwen2) recipe=qwen2_500m ;;
    qwen3) recipe=qwen3_600m ;;
    qwen3_moe) recipe=qwen3_30b_a3b ;;
    qwen3_next*) recipe=qwen3_next_80b_a3b ;;
    *) fail "no recipe for family $family" ;;
    esac
    if jq -e .sft "$case/case.json" >/dev/null; then
        kind=finetune filter=$finetune_filter
    fi
    mapfile -t args < <(jq -r --arg case "$case" --arg model "$model" "$filter" "$case/case.json")
    args=("${recipe}_${kind}_config" --single-rank "${args[@]}")
    peft=$(jq -r '.peft // "none"' "$case/case.json")
    [ $kind = pretrain ] || args+=(--peft "$peft")
    case $case in
    *pad_in_data) args+=(pad_token_id=120) ;; # an id that no file names
    esac
}

# compared CASE LOG [FIRST]: every step's numbers in the tolerances of the fixtures, from step FIRST on.
compared() {
    jq -n -r --slurpfile case "$1/case.json" --slurpfile want "$1/steps.json" --slurpfile log "$2" \
        --argjson first "${3:-1}" '
    def near($what; $got; $want; $tol): if $got != null and ($got - $want | fabs) <= $tol then empty
        else "step \(.iteration): \($what) is \($got), recorded \($want), tolerance \($tol)" end;
    $case[0] as $c | ($c.prec == "bf16") as $bf16 | ($c.family | test("moe|next")) as $moe |
    ($c.family | startswith("qwen3_next")) as $next |
    [$want[0].steps[] | select(.step >= $first)] as $w | [$log[] | select(has("split") | not) |
        select(.iteration >= $first)] as $g |
    (if ($g | length) == ($w | length) then empty else "\($g | length) steps, recorded \($w | length)" end),
    (range($w | length) as $i | $w[$i] as $s | $g[$i] | (
        near("iteration"; .iteration; $s.step; 0),
        near("lm_loss"; .lm_loss; $s.losses["lm loss"]; if $bf16 then (if $moe then 2e-2 else 6e-3 end)
            elif $s.step == 1 then 2e-6 else 1e-5 end),
        near("grad_norm"; .grad_norm; $s.grad_norm; $s.grad_norm * (if $bf16 then (if $moe then 0.03 else 0.01 end)
            elif $next then 1e-3 else 1e-5 end)),
        near("learning_rate"; .learning_rate; $s.lr_used[0]; 0),
        near("weight_decay"; .weight_decay; $s.wd_used[0]; 0),
        near("consumed_samples"; .consumed_samples; $s.consumed_before + $c.gbs; 0),
        (select($bf16 | not) | select($s.num_zeros != null) | near("num_zeros"; .num_zeros; $s.num_zeros; 0)),
        (. as $line | ($s.moe_raw_sum_over_microbatches // {}) | to_entries[] | .key as $key |
            (.value | length) as $layers | (.value | add) as $sum | $line |
            near($key; .[$key] * $layers * $s.num_microbatches; $sum; if $bf16 then 0.2 else 5e-6 * $layers end)),
        (select($s.mtp_raw_sum_over_microbatches) |
            near("mtp_1_loss"; .mtp_1_loss * $s.num_microbatches; $s.mtp_raw_sum_over_microbatches[0]; 1e-5)))),
    (select($bf16) | ([range($w | length) as $i | $g[$i].lm_loss - $w[$i].losses["lm loss"] | fabs] | add) /
        ($w | length) | if . <= 2e-3 * (if $moe then 3 else 1 end) then empty else "mean difference of the losses \(.)" end)
    ' >differences || fail "jq: $1"
    [ ! -s differences ] || fail "$1: $(head -n 8 differences)"
}

# near_tensors A B TOLERANCE: two safetensors files of float32 with the same tensors, whose values are that near.
# The first of two reads no more than it is asked for: one that writes on after its reader has gone dies of SIGPIPE.
st_header() { head -c $(($(od -An -t u8 -N 8 "$1") + 8)) "$1" | tail -c +9; }
st_values() { od -An -v -t f4 -w4 -j $(($(od -An -t u8 -N 8 "$1") + 8)) "$1"; }
near_tensors() {
    cmp <(st_header "$1" | jq -S 'del(.__metadata__)') <(st_header "$2" | jq -S 'del(.__metadata__)') ||
        fail "the headers of $1 and $2 differ"
    paste <(st_values "$1") <(st_values "$2") | awk -v tolerance="$3" '
        { d = $1 > $2 ? $1 - $2 : $2 - $1; if (!(d <= tolerance)) { print "number " NR ": " $1 " and " $2; bad = 1; exit } }
        END { exit bad || !NR }' >differences || fail "$1 and $2: $(cat differences)"
}

# near_adapter CASE RUN MODEL: the adapter that a run (its folder) ended with is the case's, which Megatron Bridge kept
# under its own names: a run that begins with it and does not learn in its one step, for the rate is 0, says it in peft's.
# `args` are the case's, as typed.
near_adapter() {
    expect 0 train "${args[@]}" adapter_init="$1/final_trainable.safetensors" train_iters=1 save_interval=null \
        dir=recorded name=a --no-sync
    expect 0 adapter export recorded/a/checkpoints recorded/peft --hf-model "$3" --no-sync
    expect 0 adapter export "$2/checkpoints" got --hf-model "$3" --no-sync
    cmp recorded/peft/adapter_config.json got/adapter_config.json || fail "configurations differ"
    near_tensors recorded/peft/adapter_model.safetensors got/adapter_model.safetensors 2e-4
    rm -r recorded got
}
