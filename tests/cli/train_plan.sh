# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_plan.sh - what the plan of a run says and what the run then does: memory, checkpoints, evaluations; the same
# plan before a dry run, and recipe memory's estimate of one process.
. "$(dirname "$0")/lib.sh"

expect 0 toy qwen3 -o model --set vocab_size=4096 --set hidden_size=256 --set num_hidden_layers=4 --set intermediate_size=1024
expect 0 toy qwen3_moe -o moe --set vocab_size=4096 --set hidden_size=256
common=(tokenizer_type=NullTokenizer tokenizer_vocab_size=4000 mock=true dir=runs train_iters=5 global_batch_size=4
    micro_batch_size=2 seq_length=128 lr=1e-3 lr_warmup_iters=2 eval_interval=2 eval_iters=1 save_interval=2)
# With a sanitizer a process takes memory that nobody planned.
sanitized=$(sed -n 's/^BRIDGE_SANITIZE:[A-Z]*=//p' "$BRIDGE_BUILD/CMakeCache.txt")

# planned NAME RECIPE OPTION...: a dry run, then the run; what it took is within a tenth of the plan.
planned() {
    local name=$1 recipe=$2
    shift 2
    expect 0 train "$recipe" "${common[@]}" name="$name" "$@" --dry-run --json
    jq .plan "$out" >dry
    [ ! -e "runs/$name" ] || fail "a dry run writes"
    expect 0 train "$recipe" "${common[@]}" name="$name" "$@" --json --no-sync
    jq .plan "$out" >wet
    jq -n -e --slurpfile a dry --slurpfile b wet '[$a[0], $b[0]] | map(del(.step_seconds, .evaluation_seconds, .seconds))
        | map(.total_bytes = 0 | .program_bytes = 0) | .[0] == .[1]' >/dev/null || fail "$name: a dry run has another plan: $(diff dry wet)"
    [ -n "$sanitized" ] || json '(.private_bytes / .plan.total_bytes - 1 | fabs) < 0.1'
    # parts add up, and nothing of them is missing
    json '.plan | [.weight_bytes, .gradient_bytes, .optimizer_bytes, .activation_bytes, .program_bytes] as $parts |
        ($parts | add) + .copy_bytes == .total_bytes and ($parts | min > 0)'
    # what was to be written was written
    json '.plan.checkpoints == 3 and .plan.evaluations == 4'
    [ "$(jq -s 'map(select(.split)) | length' "runs/$name/log.jsonl")" = 4 ] || fail "$name: not 4 evaluations"
    [ "$(ls -d runs/"$name"/checkpoints/iter_* | wc -l)" = 3 ] || fail "$name: not 3 checkpoints"
    local size
    size=$(cat runs/"$name"/checkpoints/iter_0000005/*.distcp | wc -c)
    json "($size / .plan.checkpoint_bytes - 1 | fabs) < 0.05"
    # the time of all is the time of its parts
    json '.plan | .step_seconds > 0 and (.seconds - 5 * .step_seconds - 4 * .evaluation_seconds | fabs) < 1e-6 * .seconds'
}
planned fp32 qwen3_600m_pretrain_config hf_model=./model mixed_precision=fp32
fp32=$(jq .private_bytes "$out")
json '.plan.copy_bytes == 0'
planned bf16 qwen3_600m_pretrain_config hf_model=./model mixed_precision=bf16_mixed async_save=true
json '.plan | .copy_bytes == 3 * .gradient_bytes'
bf16=$(jq .plan.activation_bytes "$out")
expect 0 recipe memory qwen3_600m_pretrain_config --set hf_model=./model --json \
    $(printf -- '--set %s ' "${common[@]}" mixed_precision=bf16_mixed global_batch_size=16)
jq -e --slurpfile plan wet '.one_process | [.weight_bytes, .gradient_bytes, .optimizer_bytes, .activation_bytes] ==
    ($plan[0] | [.weight_bytes, .gradient_bytes, .optimizer_bytes, .activation_bytes])' "$out" >/dev/null ||
    fail "recipe memory says something else: $(cat "$out" wet)"
planned again qwen3_600m_pretrain_config hf_model=./model mixed_precision=bf16_mixed recompute_granularity=full \
    recompute_method=uniform recompute_num_layers=1
json ".plan.activation_bytes < $bf16 * 3 / 4"
[ -n "$sanitized" ] || json ".private_bytes < $fp32"
planned moe qwen3_30b_a3b_pretrain_config --single-rank hf_model=./moe mixed_precision=bf16_mixed

# An adapter: the model below it is used in its file.
mkdir data
for i in $(seq 40); do printf '{"input": "one two three %d", "output": "four five"}\n' "$i"; done >data/training.jsonl
cp "$data"/tokenizer/small/tokenizer*.json model
expect 0 train qwen3_600m_finetune_config --peft lora hf_model=./model pretrained_checkpoint=./model dataset_path=data \
    do_validation=false eval_iters=0 dir=runs name=lora train_iters=2 global_batch_size=2 micro_batch_size=1 seq_length=64 \
    lr_warmup_iters=1 save_interval=null mixed_precision=fp32 --no-sync --no-progress
grep -q 'memory      .*: weights .*, gradients .*, optimizer .*, activations .*, program ' "$out" || fail "memory: $(cat "$out")"
says 'time        about '
says 'checkpoints/: 1 checkpoint, each of '
says ' private memory (planned '
# Every key without effect is listed if it is set: to the first value that it may have, but for those that depend on others.
# (Stages of a pipeline are refused where there is none.)
grep -o 'IDLE([a-z_0-9]*' "$data/../../core/train/run_keys.def" | sed 's/IDLE(//' | grep -v '_pipeline_stage$\|_vp_stage$' >idle
expect 0 recipe keys --json
mapfile -t idle < <(jq -r --rawfile idle idle '($idle | split("\n")) as $names |
    {dataset_seq_length: "64", recompute_modules: "[core_attn]", lr_decay_iters_field: "90"} as $fixed |
    .keys[] | select(.computed | not) | select(.key as $k | $names | index($k)) |
    "\(.key)=" + ($fixed[.key] // (.type | capture("^(?<kind>integer from|one of|true|list|text)(?<rest>.*)") |
        if .kind == "integer from" then .rest | split(" ")[1] elif .kind == "one of" then .rest[1:] | split("|")[0] | split(",")[0]
        elif .kind == "list" then "[x]" elif .kind == "text" then "x" else "true" end))' "$out")
[ ${#idle[@]} -gt 0 ] || fail "no keys without effect"
expect 0 train qwen3_600m_finetune_config --peft lora hf_model=./model pretrained_checkpoint=./model dataset_path=data \
    do_validation=false train_iters=2 global_batch_size=2 micro_batch_size=1 seq_length=64 lr_warmup_iters=1 \
    mixed_precision=bf16_mixed recompute_granularity=selective "${idle[@]}" dir=runs name=dry --dry-run --json
cmp <(printf '%s\n' "${idle[@]%%=*}" | sort) <(jq -r '.plan.without_effect[]' "$out" | sort) ||
    fail "keys without effect that the plan does not list: $(jq -c .plan.without_effect "$out")"
json '.plan | .weight_bytes < 10.5 * .trained_parameters and .weight_bytes < 2 * (.parameters - .trained_parameters)'

# A recipe that cannot be trained in one process says why.
expect 0 recipe memory qwen3_600m_pretrain_config --set use_precision_aware_optimizer=true
says 'one process of bridge train: use_precision_aware_optimizer'
done_ok
