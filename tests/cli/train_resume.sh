# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_resume.sh - a run that was stopped, killed or refused its disk goes on as if nothing had been: numbers and
# final files equal those of an unbroken one, bit for bit.  `BRIDGE_RESUME_ALL=1` takes every step and more kills;
# `BRIDGE_RESUME_PART=K/N` beside it every Nth run of those that are gone on from, and all else where K is 0 (N even).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
runs=$data/train
full=${BRIDGE_RESUME_ALL:-}
part=${BRIDGE_RESUME_PART:-0/1}
seed=${SEED:-$RANDOM}
RANDOM=$seed
echo "moments by SEED=$seed"

# numbers LOG N: those after step N, evaluations included.  The last evaluations follow the last checkpoint, so a run
# that is killed between them makes them again.
numbers() {
    jq -c "select(.iteration > $2) | [.split, .iteration, .lm_loss, .grad_norm, .num_zeros, .consumed_samples,
        .learning_rate, .load_balancing_loss, .mtp_1_loss]" "$1" | awk '!seen[$0]++'
}
# equal NAME STEP REFERENCE: the log from step STEP on, and the last checkpoint.
equal() {
    numbers "runs/$3/log.jsonl" "$2" >want
    numbers "runs/$1/log.jsonl" "$2" >have
    cmp -s want have || fail "$1: other numbers after step $2 than $3: $(diff want have | head -n 4)"
    "$BRIDGE" diff "runs/$3/checkpoints" "runs/$1/checkpoints" >differs 2>&1 || fail "$1: $(head -n 4 differs)"
}
latest() { cat "runs/$1/checkpoints/latest_checkpointed_iteration.txt"; }

# ---- every family: saved at each step, gone on from some; stopped every few steps by itself

evaluated=(dataset_split=8,1,1 eval_iters=2 eval_interval=7)
# told CASE PRECISION: `args` of a case's folder.  Pretraining evaluates every seven steps, between saves.
told() {
    case $(jq -r 'if .sft then .peft // "sft" else "pretrain" end' "$1/case.json") in
    pretrain)
        typed "$1"
        args+=("${evaluated[@]}")
        ;;
    *)
        if [[ $1 = "$runs"/* ]]; then typed "$1" "$runs/qwen2_sft/model"; else
            typed "$1" "$fixture/hf_models/$(jq -r .family "$1/case.json")"
        fi
        ;;
    esac
    args+=(mixed_precision="$2")
}
# goes_on NAME: `args` as one run, saved at each step; from each of some steps again; in pieces of eight steps.
goes_on() {
    local step steps
    expect 0 train "${args[@]}" save_interval=1 dir=runs name="$1" --no-sync
    steps=$(jq -s 'map(.iteration) | max' "runs/$1/log.jsonl")
    [ "$(latest "$1")" = "$steps" ] || fail "the last checkpoint is $(latest "$1")"
    for ((step = 1; step < steps; step++)); do
        [ -n "$full" ] || [ $((step % 6)) = 3 ] || continue
        expect 0 train "${args[@]}" save_interval=null load="runs/$1/checkpoints" ckpt_step=$step dir=runs \
            name="$1-$step" --no-sync
        equal "$1-$step" $step "$1"
        rm -r "runs/$1-$step"
    done
    for ((step = 8; step < steps + 8; step += 8)); do
        expect 0 train "${args[@]}" save_interval=null exit_interval=8 dir=runs name="$1-stops" --no-sync
    done
    equal "$1-stops" 0 "$1"
    echo "$1: $steps steps"
}
adapted=()
if [ -n "$full" ]; then
    need_fixture train
    adapted=("$fixture"/{lora,dora}/*)
fi
for case in "$runs"/{qwen2,qwen3,qwen3_moe,qwen3_next_mtp,qwen2_sft,qwen2_lora,qwen2_dora} "${adapted[@]}"; do
    for precision in fp32 bf16_mixed; do
        name=$(basename "$(dirname "$case")")-$(basename "$case")
        name=${name#train-}
        [ $precision = fp32 ] || name+=-bf16
        [[ -n $full || $precision = fp32 || $name = qwen3-* || $name = qwen2_lora-* ]] || continue
        seen=$((${seen:--1} + 1))
        [ $((seen % ${part#*/})) = "${part%/*}" ] || continue
        told "$case" $precision
        goes_on "$name"
    done
done

if [ "${part%/*}" != 0 ]; then
    done_ok
    exit
fi

# ---- written while the run goes on; only the latest stay

typed "$runs/qwen3_moe"
args+=("${evaluated[@]}")
expect 0 train "${args[@]}" save_interval=1 async_save=true most_recent_k=3 dir=runs name=later --no-sync
equal later 0 qwen3_moe
[ "$(cd runs/later/checkpoints && echo iter_*)" = "iter_0000018 iter_0000019 iter_0000020" ] || fail "not three stay"

# ---- a signal: the step ends, a checkpoint is written, the same command goes on

typed "$runs/qwen2"
args+=("${evaluated[@]}" save_interval=null)
mkfifo gate
"$BRIDGE" train "${args[@]}" dir=runs name=signal log_interval=1 --no-sync >gate 2>"$err" &
pid=$!
{ while read -r line; do [[ $line != *iteration*4/* ]] || break; done && kill -TERM $pid && cat >/dev/null; } <gate
rc=0
wait $pid || rc=$?
[ $rc = 19 ] || [ $rc = 0 ] || fail "exit status $rc after SIGTERM"
[ -e runs/signal/checkpoints/latest_checkpointed_iteration.txt ] || fail "no checkpoint after SIGTERM"
expect 0 train "${args[@]}" dir=runs name=signal --no-sync
equal signal 0 qwen2

# ---- kill -9 at random moments of a run that saves every two steps

rounds=8
[ -z "$full" ] || rounds=50
typed "$runs/qwen3"
args+=("${evaluated[@]}")
expect 0 train "${args[@]}" save_interval=2 dir=runs name=whole --no-sync
start=$(date +%s%N)
expect 0 train "${args[@]}" save_interval=2 dir=runs name=timed --no-sync
took=$((($(date +%s%N) - start) / 1000000 + 5))
killed=0
for ((i = 0; i < rounds; i++)); do
    rm -rf runs/killed
    while :; do
        "$BRIDGE" train "${args[@]}" save_interval=2 dir=runs name=killed --no-sync >"$out" 2>"$err" & pid=$!
        ms=$((RANDOM % took))
        sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
        kill -9 $pid 2>/dev/null || true
        rc=0
        wait $pid 2>/dev/null || rc=$?
        [ $rc != 137 ] || killed=$((killed + 1))
        [ $rc = 137 ] || break
        took=$((took * 11 / 10 + 1))
    done
    [ $rc = 0 ] || fail "round $i: exit status $rc after a kill"
    equal killed 0 whole
    [ -z "$(find runs/killed/checkpoints -name '*bridge-partial*')" ] || fail "round $i: something is left over"
    took=$((took * 9 / 10 + 2))
done
echo "$killed runs were killed"
[ $killed -ge $((rounds / 4)) ] || fail "only $killed kills in $rounds rounds"

# ---- where a run begins

typed "$runs/qwen2"
args+=(save_interval=null)
# Weights alone of a training checkpoint, from step 0: main weights are those that the model computes with.
expect 0 train "${args[@]}" load=runs/qwen2/checkpoints ckpt_step=10 finetune=true dir=runs name=over --no-sync
jq -s -e '(map(.iteration) == [range(1; 21)]) and .[0].consumed_samples == 4' runs/over/log.jsonl >/dev/null ||
    fail "finetune=true does not begin at step 1"
expect 0 train "${args[@]}" pretrained_checkpoint=runs/qwen2/checkpoints/iter_0000010 dir=runs name=weights --no-sync
equal weights 0 over
# Without the optimizer's state the counters go on, and the schedule begins again, as Megatron's does.
expect 0 train "${args[@]}" load=runs/qwen2/checkpoints ckpt_step=10 load_optim=false dir=runs name=fresh --no-sync
jq -s -e 'map(.iteration) == [range(11; 21)] and .[0].learning_rate == 0 and .[0].consumed_samples == 44' \
    runs/fresh/log.jsonl >/dev/null || fail "load_optim=false: $(head -n 1 runs/fresh/log.jsonl)"
# A run's own checkpoint goes before `load`, whatever else is said.
expect 0 train "${args[@]}" load=runs/qwen2/checkpoints finetune=true train_iters=21 lr_decay_iters=20 \
    dir=runs name=over --no-sync
complains 'train_iters was 20 when the checkpoint was written and is 21'
[ "$(latest over)" = 21 ] || fail "the run does not go on from its own checkpoint"

expect 11 train "${args[@]}" load=runs/qwen2/checkpoints ckpt_step=77 dir=runs name=absent
complains 'ckpt_step=77: there is no'
expect 11 train "${args[@]}" load=absent dir=runs name=absent
complains "load: 'absent' holds no training checkpoint"
expect 5 train "${args[@]}" load=runs/qwen2/checkpoints ckpt_step=10 lr=4e-3 override_opt_param_scheduler=false \
    dir=runs name=absent
complains 'lr is 0.005'
complains 'override_opt_param_scheduler=true'
"$BRIDGE" import -q --hf-model "$runs/qwen3/hf" --megatron-path other >/dev/null 2>&1
expect 8 train "${args[@]}" load=other dir=runs name=absent
complains "this run's is"
cut=runs/cut/checkpoints/iter_0000020
mkdir -p runs/cut
cp -r runs/qwen2-stops/checkpoints runs/cut/checkpoints
rm $cut/.metadata
expect 4 train "${args[@]}" dir=runs name=cut
complains "has no .metadata"
complains "ckpt_step=N goes on from another"

# ---- from nothing: the recipe's initialisation, the same at any number of threads

typed "$runs/qwen3"
for ((i = 0; i < ${#args[@]}; i++)); do [[ ${args[i]} != pretrained_checkpoint=* ]] || args[i]=pretrained_checkpoint=null; done
for threads in 1 3; do
    expect 0 train "${args[@]}" save_interval=null dir=runs name=random$threads -j $threads --no-sync
done
equal random1 0 random3
jq -s -e '.[0].lm_loss > 4.7 and .[0].lm_loss < 5 and .[-1].lm_loss < .[0].lm_loss' runs/random1/log.jsonl >/dev/null ||
    fail "from random weights: $(jq -s -c 'map(.lm_loss)' runs/random1/log.jsonl)"
expect 0 train "${args[@]}" save_interval=null rng_seed=77 dir=runs name=seed --no-sync
"$BRIDGE" diff runs/seed/checkpoints runs/random1/checkpoints >/dev/null && fail "the seed changes nothing"
expect 0 train "${args[@]}" save_interval=null exit_interval=5 dir=runs name=again --no-sync
expect 0 train "${args[@]}" save_interval=null dir=runs name=again --no-sync
equal again 0 random1
typed "$runs/qwen2_sft" "$runs/qwen2_sft/model"
for ((i = 0; i < ${#args[@]}; i++)); do [[ ${args[i]} != pretrained_checkpoint=* ]] || args[i]=pretrained_checkpoint=null; done
expect 5 train "${args[@]}" dir=runs name=absent
complains 'finetuning begins from a model: pretrained_checkpoint=DIR names it'

# ---- what a run leaves is a checkpoint like others

expect 0 export -q --megatron-path runs/qwen2/checkpoints --hf-path hf
expect 0 inspect runs/qwen2/checkpoints
says 'iteration 20, 80 consumed samples, adam (distributed), sharding fully_reshardable'
expect 0 logits hf --input-ids 5,6,7 --output logits.safetensors -q
done_ok
