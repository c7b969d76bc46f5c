# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_fp16.sh - float16 weights under a dynamic loss scale: a gradient that overflows is skipped, the scale falls and
# grows by Megatron's rule, and a run that was stopped while it does goes on as if it had not been.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
runs=$data/train

# ---- Megatron's rule, first against what its DynamicGradScaler was seen to do

# replay([{bad}]; args): the scale, good steps and hysteresis that are left after each.
rule='def replay(steps; a):
    [foreach steps[] as $bad ({scale: a.initial_scale, good: 0, left: a.hysteresis};
        if $bad then .good = 0 | .left -= 1 |
            if .left <= 0 then .scale = ([.scale * a.backoff_factor, a.min_scale] | max) else . end
        else .good += 1 |
            if .good == a.growth_interval then .good = 0 | .left = a.hysteresis | .scale *= a.growth_factor else . end
        end; [.scale, .good, .left])];'
jq -e "$rule"'.grad_scaler | length == 4 and all(.[]; . as $c | ($c.sequence | length) == 78 and
    replay($c.sequence | map(.[0]); $c.args) == ($c.sequence | map(.[1:])))' "$runs/schedule.json" >/dev/null ||
    fail "the rule is not Megatron's"

# follows LOG INITIAL WINDOW MIN: the scale of each step is what the rule makes of the steps that were skipped.
follows() {
    jq -s -e --argjson initial "$2" --argjson window "$3" --argjson min "$4" "$rule"'
        {initial_scale: $initial, growth_interval: $window, min_scale: $min, hysteresis: 2, backoff_factor: 0.5,
            growth_factor: 2} as $args |
        map(.loss_scale) == ([$initial] + (replay(map(.skipped); $args) | map(.[0]))[:-1])' "$1" >/dev/null ||
        fail "$1: the scale is $(jq -c '[.loss_scale, .skipped]' "$1" | tr '\n' ' ')"
}

# ---- the recipe's scale: nothing overflows, and the losses are those of float32 within float16's rounding

typed "$runs/qwen3"
args+=(save_interval=null)
expect 0 train "${args[@]}" mixed_precision=fp16_mixed dir=runs name=usual --no-sync
says 'float16 weights under a loss scale, float32 main weights'
says '| loss scale: 4294967296.0 |'
follows runs/usual/log.jsonl 4294967296 1000 1
expect 0 train "${args[@]}" dir=runs name=wide --no-sync
jq -n -e --slurpfile a runs/usual/log.jsonl --slurpfile b runs/wide/log.jsonl \
    '[range(12) | $a[.].lm_loss - $b[.].lm_loss | fabs] | max < 5e-3 and max > 0' >/dev/null || fail "float16: $(paste <(jq .lm_loss runs/usual/log.jsonl) <(jq .lm_loss runs/wide/log.jsonl))"
jq -s -e 'all(.[]; .skipped == false)' runs/usual/log.jsonl >/dev/null || fail "steps were skipped"

# ---- a scale that overflows: 2^127, with sums over tokens that are divided only afterwards

high=170141183460469231731687303715884105728
args+=(mixed_precision=fp16_mixed calculate_per_token_loss=true loss_scale_window=3)
expect 0 train "${args[@]}" initial_loss_scale=$high dir=runs name=high log_interval=1 --no-sync
follows runs/high/log.jsonl $high 3 1
says 'number of skipped iterations:   1'
# A skipped step has no norm, a NaN no sign.
! grep -i -e '-nan' "$out" || fail "a NaN has a sign"
grep 'number of skipped iterations:   1' "$out" | grep -q 'grad norm' && fail "a skipped step has a norm"
[ "$(grep -c 'number of skipped iterations:   0.*' "$out")" = "$(grep -c 'grad norm: [0-9]' "$out")" ] || fail "no norm"
jq -s -e '[.[] | .skipped] | .[0:3] == [true, true, true] and (map(select(. | not)) | length >= 4) and
    (.[4:] | any)' runs/high/log.jsonl >/dev/null || fail "skipped: $(jq -c .skipped runs/high/log.jsonl | tr '\n' ' ')"
# A step that is skipped uses up its samples; weights, schedule and the optimizer's count of steps stay.
expect 0 train "${args[@]}" dir=runs name=low --no-sync
jq -n -e --slurpfile high runs/high/log.jsonl --slurpfile low runs/low/log.jsonl '
    ($high | map(.consumed_samples)) == [range(4; 52; 4)] and
    ([$high[] | select(.skipped | not) | .learning_rate] as $rates | $rates == ($low | map(.learning_rate))[:$rates | length]) and
    ([$high[] | .skipped] | index(false)) as $first | ($high[$first - 1].learning_rate == $low[0].learning_rate) and
    all($high[]; .skipped == (.grad_norm == null or .grad_norm > 1e300))' >/dev/null || fail "what a skipped step changes"
first=$(jq -s 'map(.skipped) | index(false) + 1' runs/high/log.jsonl)
expect 0 train "${args[@]}" exit_interval="$first" lr=1e-30 min_lr=0 lr_warmup_init=0 dir=runs name=still --no-sync
cmp <(jq -c .lm_loss runs/still/log.jsonl) <(jq -c .lm_loss runs/high/log.jsonl | head -n "$first") ||
    fail "a skipped step changes weights"

# ---- stopped at each step, those that are skipped among them

for ((i = 1; i <= 12; i++)); do
    expect 0 train "${args[@]}" initial_loss_scale=$high exit_interval=1 dir=runs name=stops --no-sync
done
numbers() { jq -c '[.iteration, .lm_loss, .grad_norm, .loss_scale, .skipped, .learning_rate]' "$1"; }
cmp <(numbers runs/high/log.jsonl) <(numbers runs/stops/log.jsonl) || fail "a run that was stopped has other numbers"
expect 0 diff runs/high/checkpoints runs/stops/checkpoints
# The scale has a least value.  Other dtypes have none, and their runs end.
expect 0 train "${args[@]}" initial_loss_scale=$high min_loss_scale=85070591730234615865843651857942052864 dir=runs name=least --no-sync
follows runs/least/log.jsonl $high 3 85070591730234615865843651857942052864
expect 0 train "${args[@]}" mixed_precision=bf16_mixed adam_eps=0 ddp_check_for_nan_in_grad=false log_interval=1 dir=runs \
    name=nan-on --no-sync # goes on, as Megatron does
says '| lm loss: NAN |'
says '| grad norm: nan |'
for precision in fp32 bf16_mixed; do
    expect 16 train "${args[@]}" mixed_precision=$precision adam_eps=0 dir=runs name=nan-$precision --no-sync
    complains "step 2: the loss is"
    complains "first tensor whose gradient is not finite: lm_head.weight"
done
done_ok
