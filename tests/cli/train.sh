# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train.sh - bridge train: a recorded run of each family, typed as a user would, gives Megatron's numbers; the plan,
# the log, evaluation, what is refused.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
runs=$data/train

for case in qwen2 qwen3 qwen3_moe qwen3_next_mtp; do
    typed "$runs/$case"
    expect 0 train "${args[@]}" dir=runs name=$case --no-sync
    compared "$runs/$case" runs/$case/log.jsonl
done
for case in qwen2_sft qwen2_lora; do
    typed "$runs/$case" "$runs/qwen2_sft/model"
    expect 0 train "${args[@]}" dir=runs name=$case --no-sync
    compared "$runs/$case" runs/$case/log.jsonl
done
says 'trained: LoRA, 5888'

# An adapter begins from numbers of its own, the same for the same seed, and changes nothing before it has learnt.
mapfile -t args < <(printf '%s\n' "${args[@]}" | grep -v adapter_init)
for run in a b; do
    expect 0 train "${args[@]}" dir=runs name=lora_$run --no-sync
done
cmp <(jq -c '[.lm_loss, .grad_norm]' runs/lora_a/log.jsonl) <(jq -c '[.lm_loss, .grad_norm]' runs/lora_b/log.jsonl) ||
    fail "a run with the same seed differs"
jq -s -e --slurpfile recorded "$runs/qwen2_lora/steps.json" \
    '(.[0].lm_loss - $recorded[0].steps[0].losses["lm loss"] | fabs) < 2e-6 and .[9].lm_loss < .[0].lm_loss' \
    runs/lora_a/log.jsonl >/dev/null || fail "a fresh adapter: $(cat runs/lora_a/log.jsonl)"
echo '{}' >bad.safetensors
expect 4 train "${args[@]}" adapter_init=bad.safetensors
complains "adapter_init 'bad.safetensors'"

# bfloat16 values, and layers that are computed twice: the same losses within what bfloat16 allows, to the last bit.
typed "$runs/qwen3"
expect 0 train "${args[@]}" mixed_precision=bf16_mixed train_iters=6 lr_warmup_iters=2 dir=runs name=bf16 --no-sync
expect 0 train "${args[@]}" mixed_precision=bf16_mixed train_iters=6 lr_warmup_iters=2 enable_recompute=true dir=runs \
    name=again --no-sync
cmp <(jq -c '[.lm_loss, .grad_norm]' runs/bf16/log.jsonl) <(jq -c '[.lm_loss, .grad_norm]' runs/again/log.jsonl) ||
    fail "recompute changes results"
expect 0 train "${args[@]}" train_iters=6 lr_warmup_iters=2 dir=runs name=wide --no-sync
jq -n -e --slurpfile a runs/bf16/log.jsonl --slurpfile b runs/wide/log.jsonl \
    '[range(6) | $a[.].lm_loss - $b[.].lm_loss | fabs] | max < 0.02 and max > 0' >/dev/null || fail "bfloat16"

# The comparison finds what differs: another learning rate, a step too few.
typed "$runs/qwen2"
expect 0 train "${args[@]}" lr=5.00001e-3 dir=runs name=other --no-sync
(compared "$runs/qwen2" runs/other/log.jsonl) >differs && fail "another learning rate is not found"
grep -q 'learning_rate is 0.0012500025' differs || fail "the difference is not told: $(cat differs)"
head -n 19 runs/qwen2/log.jsonl >short.jsonl
(compared "$runs/qwen2" short.jsonl) >differs && fail "a missing step is not found"

# Events for TensorBoard: every file of TensorFlow's writer begins with these bytes, the length of its version
# and that length's masked CRC-32C.  tests/oracle/train_events.py asks TensorBoard itself.
[ "$(cat runs/qwen2/tb_logs/events.out.tfevents.* | head -c 13 | od -An -v -tx1 | tr -d ' \n')" = 1800000000000000a37f4b2209 ] ||
    fail "no event file"
grep -qa 'lm loss' runs/qwen2/tb_logs/events* || fail "no loss among the events"

# Results do not depend on the number of threads, to the last bit.
for threads in 1 3; do
    expect 0 train "${args[@]}" dir=runs name=t$threads -j $threads --no-sync
    jq -c '[.lm_loss, .grad_norm]' runs/t$threads/log.jsonl >t$threads
done
cmp t1 t3 || fail "the number of threads changes results"

# Megatron's line: its fields in their order, its learning rate the next step's; one for log_interval steps.
typed "$runs/qwen3_next_mtp"
expect 0 train "${args[@]}" dir=runs name=line log_interval=1 --no-sync
[ "$(grep -c 'iteration .*consumed samples' "$out")" = 20 ] || fail "not a line for each step"
jq -r '.steps[] | .console' "$runs/qwen3_next_mtp/steps.json" |
    sed 's/^ \[[^]]*\]//; s/(ms): [0-9.]*/(ms)/; s/: *[0-9][0-9.E+-]*/:/g' >want
grep 'consumed samples' "$out" | sed 's/^ \[[^]]*\]//; s/(ms): [0-9.]*/(ms)/; s/: *[0-9][0-9.E+-]*/:/g' >have
cmp want have || fail "the fields differ: $(diff want have | head -n 4)"
numbers() { grep -o 'learning rate: [^|]*\|lm loss: [^|]*\|consumed samples: [^|]*\|num zeros: [^|]*'; }
grep 'consumed samples' "$out" | numbers | grep -v 'lm loss' >have
jq -r '.steps[] | .console' "$runs/qwen3_next_mtp/steps.json" | numbers | grep -v 'lm loss' >want
cmp want have || fail "numbers of the line differ: $(diff want have | head -n 4)"

# The plan comes first; alone it writes nothing.
typed "$runs/qwen2"
expect 0 train "${args[@]}" dir=plan name=r --dry-run
says '22816 parameters; trained: all'
says '90 sequences, 2767 tokens, 1 epoch, 86 samples'
says '1 to 20, each 4 samples of 32 tokens in 2 micro batches; 2560 tokens in all'
says 'manual_gc'
[ ! -e plan ] || fail "a dry run writes"
expect 0 train "${args[@]}" dir=plan name=r --dry-run --json
json '.plan.parameters == 22816 and .plan.data.train[0].tokens == 2767 and (.plan.without_effect | index("num_workers"))'
expect 0 train "${args[@]}" dir=runs name=json --json --no-sync
json '.end == "done" and .steps == 20 and .iteration == 20 and .lm_loss < 6 and .tokens == 2560'

# A run that is started again after its last step says that it is finished, and touches nothing.
find runs/json -type f -printf '%p %T@\n' | sort >before
expect 0 train "${args[@]}" dir=runs name=json
says "finished    'runs/json/checkpoints/iter_0000020' is after iteration 20, and train_iters is 20"
says 'train_iters=N with N above 20 goes on'
expect 0 train "${args[@]}" dir=runs name=json train_iters=18 --json
json '.end == "done" and .steps == 0 and .iteration == 20 and .resumed == "runs/json/checkpoints/iter_0000020"'
cmp before <(find runs/json -type f -printf '%p %T@\n' | sort) || fail "a finished run was written to"

# Evaluation: of the same data the loss of a model that does not learn is that of its first step.
typed "$runs/qwen2"
expect 0 train "${args[@]}" dir=runs name=eval dataset_split=1,1,1 eval_iters=2 eval_interval=10 --no-sync
says 'validation loss at iteration 10 | lm loss value: '
jq -s -e '[.[] | select(.split)] | map("\(.split) \(.iteration)") == ["valid 10", "valid 20", "valid 20", "test 20"]' \
    runs/eval/log.jsonl >/dev/null || fail "evaluations: $(grep split runs/eval/log.jsonl)"
jq -s -e '[.[] | select(.split)] | all(.samples == 8 and .loss_tokens == 256 and .ppl > 1)' runs/eval/log.jsonl \
    >/dev/null || fail "evaluations: $(grep split runs/eval/log.jsonl)"
find runs/eval -type f -printf '%p %T@\n' | sort >before
expect 0 train "${args[@]}" dir=runs name=eval dataset_split=1,1,1 eval_iters=2 eval_interval=10 --no-sync
says 'finished '
cmp before <(find runs/eval -type f -printf '%p %T@\n' | sort) || fail "a finished run was written to"
# One that was killed before the evaluations of its end makes them.
sed -i '$d' runs/eval/log.jsonl
expect 0 train "${args[@]}" dir=runs name=eval dataset_split=1,1,1 eval_iters=2 eval_interval=10 --no-sync
says 'steps       none: train_iters is 20'
[ "$(jq -r 'select(.split == "test") | .iteration' runs/eval/log.jsonl)" = 20 ] || fail "no evaluation of the test split"
expect 0 train "${args[@]}" dir=runs name=still skip_train=true dataset_split=1,1,1 eval_iters=2 --json --no-sync
json '.steps == 0 and .valid.iteration == 0 and .test.lm_loss > 8'

# The log as a page: a curve for each number that the run has, nothing from elsewhere.
expect 0 train report runs/eval
says 'runs/eval/report.html: 20 steps, 4 evaluations'
[ "$(grep -c '<svg' runs/eval/report.html)" = 6 ] || fail "$(grep -c '<svg' runs/eval/report.html) curves"
[ "$(grep -c '<polyline' runs/eval/report.html)" = 7 ] || fail "no curve of validation"
grep -q 'num_layers: 2' runs/eval/report.html || fail "no configuration"
! grep -qE 'src=|href=|url\(' runs/eval/report.html || fail "the page needs something from elsewhere"
expect 0 train report runs/eval -o '<b>.html'
echo '{"iteration": 1' >broken.jsonl
mkdir broken && mv broken.jsonl broken/log.jsonl
expect 4 train report broken
complains "'broken/log.jsonl', line 1"
expect 11 train report absent
expect 2 train report
complains 'DIR'

# A signal ends the run after its step, with a status of its own.
mkfifo gate
"$BRIDGE" train "${args[@]}" train_iters=100000 dir=runs name=signal log_interval=1 --no-sync >gate 2>"$err" &
pid=$!
{ while read -r line; do [[ $line != *iteration*consumed* ]] || break; done && kill -TERM $pid && cat >/dev/null; } <gate
rc=0
wait $pid || rc=$?
[ $rc = 19 ] || fail "exit status $rc after SIGTERM"
complains 'stopped by a signal after iteration'

# Texts are made into token files once.
model=$data/hf/qwen3_tiny_chat
for ((i = 0; i < 60; i++)); do echo "{\"text\": \"this is line $i of a small corpus, which is read again and again\"}"; done >corpus.jsonl
text=(qwen3_600m_pretrain_config --single-rank hf_model="$model" pretrained_checkpoint="$model" data_paths=corpus.jsonl
    dataset_split=100,0,0 seq_length=24 micro_batch_size=2 global_batch_size=4 train_iters=3 lr_warmup_iters=1
    eval_iters=0 mixed_precision=fp32 cross_entropy_loss_fusion=false save_interval=null dir=runs name=text --no-sync)
expect 0 train "${text[@]}"
complains 'corpus.jsonl'
[ "$(ls runs/text/cache/*.bin | wc -l)" = 1 ] || fail "no token file"
expect 0 train "${text[@]}" name=text
[ "$(ls runs/text/cache/*.bin | wc -l)" = 1 ] || fail "two token files"
# Records of ids, as they are.
for ((i = 0; i < 12; i++)); do echo "{\"input_ids\": [$i, 5, 6, 7, 8, 9]}"; done >ids.jsonl
expect 0 train "${text[@]}" data_paths=ids.jsonl name=ids
jq -s -e 'all(.tokens == 20)' runs/ids/log.jsonl >/dev/null || fail "tokens of records of ids"
echo '{"input_ids": [1, -1]}' >>ids.jsonl
expect 4 train "${text[@]}" data_paths=ids.jsonl name=bad
complains 'ids.jsonl, line 13: '
expect 0 train "${text[@]}" data_paths=ids.jsonl name=bad --skip-bad-records
complains 'ids.jsonl, line 13: '

# What cannot be trained is said before anything is written.
typed "$runs/qwen2"
expect 2 train
complains 'needs the name of a recipe'
expect 2 train qwen2_500m_pretrain_config nothing
complains "'nothing' is no setting"
expect 2 train qwen3_next_80b_a3b_pretrain_config
complains '--ranks 128 as threads of one; --single-rank sets these sizes to 1'
expect 5 train "${args[@]}" train_iters=4
complains 'lr_warmup_iters 4'
expect 5 train "${args[@]}" dataset_split=0,1,0
complains 'the split has no share for train'
expect 5 train "${args[@]}" hf_model="$runs/qwen3/hf"
complains 'is a qwen3'
expect 11 train "${args[@]}" data_paths=absent
complains absent
typed "$runs/qwen2_sft" "$runs/qwen2_sft/model"
expect 5 train "${args[@]}" global_batch_size=4000
complains 'fewer than global_batch_size 4000'
done_ok
