# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# ranks.sh NAME - processes with a device each, which talk by NCCL, started by an MPI (mpich, openmpi) or by torchrun's
# variables: tokens, losses and norms are those of threads with as many devices; what is refused; a rank that is killed.
# `BRIDGE_RANKS_ALL=1` takes every way to share a model (scripts/test-ranks).  On real devices (scripts/test-cuda) NCCL adds
# in an order of its own: REAL=1 compares numbers to 1e-4.
here=$(realpath "$(dirname "$0")")
. "$here/../mpi/lib.sh"
. "$here/../cli/libtrain.sh"
full=${BRIDGE_RANKS_ALL:-}
data=$BRIDGE_TEST_DATA/train
small=()
[ -n "$full" ] || small=(seq_length=16 global_batch_size=2)
export CUDASIM_DEVICES=${CUDASIM_DEVICES:-4} CUDASIM_PATIENCE=600 TMPDIR=$work
"$bridge" toy qwen3_moe -o moe --quiet >/dev/null
prompt=(--input-ids 1,5,9,2,7,3,11,4 --device cuda)

# ---- tokens and scores

# generated N OPTION...: the same tokens as by threads.
generated() {
    local n=$1
    shift
    alone 0 generate moe "${prompt[@]}" -N 4 "$@" --json
    jq -c .ids out >want
    ranks "$n" 0 generate moe "${prompt[@]}" -N 4 "$@" --json
    jq -c .ids out | cmp - want || fail "$*: other tokens than by threads: $(cat want)"
    echo "$n generate $*"
}
generated 2 --tp 2
if [ -n "$full" ]; then
    generated 2 --pp 2
    generated 2 --ep 2 --etp 1
    generated 4 --tp 2 --pp 2
    for how in '--tp 2' '--pp 2' '--ep 2 --etp 1'; do
        # shellcheck disable=SC2086
        {
            alone 0 logits moe "${prompt[@]}" $how --grads --hidden-states -o want.safetensors
            ranks 2 0 logits moe "${prompt[@]}" $how --grads --hidden-states -o got.safetensors
        }
        "$bridge" diff want.safetensors got.safetensors >diff 2>&1 || cmp want.safetensors got.safetensors ||
            fail "$how: other bits than threads: $(head -n 3 diff)"
        rm want.safetensors got.safetensors
        echo "2 logits $how"
    done
fi

# ---- training

# trained N CASE SETTING...: the numbers of each step are those of threads.
numbers() { jq -c '[.iteration, .lm_loss, .grad_norm, .load_balancing_loss, .tokens]' "runs/$1/log.jsonl"; }
trained() {
    local n=$1 case=$2 a kept=()
    shift 2
    typed "$data/$case"
    for a in "${args[@]}"; do [ "$a" = --single-rank ] || kept+=("$a"); done
    args=(train "${kept[@]}" tp=1 pp=1 cp=1 ep=1 etp=null vpp=null pp_layout=null sequence_parallel=false cp_comm_type=null
        micro_batch_size=1 save_interval=null lr_warmup_iters=1 train_iters=2 "${small[@]}" "$@" --device cuda dir=runs --no-sync --quiet)
    rm -rf runs
    alone 0 "${args[@]}" --ranks "$n" name=threads
    ranks "$n" 0 "${args[@]}" name=ranks
    if [ -n "${REAL:-}" ]; then
        jq -n -e --slurpfile a runs/threads/log.jsonl --slurpfile b runs/ranks/log.jsonl '($a | length) == ($b | length) and
            all(range($a | length); . as $i | ($a[$i].lm_loss - $b[$i].lm_loss | fabs) < 1e-4)' >/dev/null
    else
        cmp <(numbers threads) <(numbers ranks)
    fi || fail "$*: $(diff <(numbers threads) <(numbers ranks) | head -n 4)"
    echo "$n train $case $*"
}
if [ "$name" = mpich ] || [ -n "$full" ]; then
    trained 2 qwen3_moe ep=2
fi
if [ -n "$full" ]; then
    trained 2 qwen3 tp=2 sequence_parallel=true
    trained 2 qwen3 pp=2
    trained 2 qwen3
    trained 2 qwen3 cp=2
    trained 2 qwen3_moe tp=2 etp=2 sequence_parallel=true
    trained 4 qwen3_moe tp=2 pp=2 ep=2 etp=1 sequence_parallel=true
    trained 2 qwen3_next_mtp ep=2
fi

# ---- which device

if [ -z "${REAL:-}" ]; then
    CUDASIM_DEVICES=1 ranks 2 12 generate moe "${prompt[@]}" --tp 2
    complains "device 1 of backend 'cuda' is wanted, 1 are there; every rank of a host needs its own"
fi
if [ "$name" = mpich ]; then
    # cuda:N is the first rank's; ranks to which the launcher shows a GPU each have that one.
    if [ -n "$full" ] && [ -z "${REAL:-}" ]; then
        CUDASIM_DEVICES=3 ranks 2 0 generate moe "${prompt[@]}" --device cuda:1 -N 1 --tp 2
        CUDASIM_DEVICES=2 ranks 2 12 generate moe "${prompt[@]}" --device cuda:1 -N 1 --tp 2
        complains "device 2 of backend 'cuda' is wanted, 2 are there"
    fi
    # One rank that has none.
    got=0
    last='a device and none'
    timeout 60 "$run" -n 1 "$bridge" score moe --input-ids 1,2,3,4 --tp 2 : -n 1 env CUDASIM_DRIVER=none CUDA_VISIBLE_DEVICES= \
        "$bridge" score moe --input-ids 1,2,3,4 --tp 2 >out 2>err || got=$?
    [ $got = 2 ] || fail "a device and none: exit status $got"
    complains "another device than that of rank 0"
    # One rank whose device is full, while the other waits for it in NCCL.
    if [ -n "$full" ] && [ -z "${REAL:-}" ]; then
        got=0
        last='a full device'
        ids=$(seq -s, 1 250)
        timeout 60 "$run" -n 1 "$bridge" score moe --input-ids "$ids" --device cuda --tp 2 --dtype float32 : -n 1 env CUDASIM_MEMORY=1 \
            "$bridge" score moe --input-ids "$ids" --device cuda --tp 2 --dtype float32 >out 2>err || got=$?
        [ $got = 13 ] || [ $got = 9 ] || fail "a full device: exit status $got"
        complains "device 'cuda' is out of memory"
        grep -q "bridge: rank 1 (.*, pid [0-9]*): device 'cuda' is out of memory" out err || fail 'the rank is not named'
    fi
fi

# ---- a rank that is killed

# lost SIGNAL: sent to its second rank when two steps are done, while the first waits for it in NCCL or computes.
typed "$data/qwen3"
lost() {
    rm -rf runs pid
    "$run" $let_live -n 1 "$bridge" "${args[@]}" name=lost : -n 1 bash -c 'echo $$ >pid.new && mv pid.new pid && exec "$@"' - \
        "$bridge" "${args[@]}" name=lost >out 2>err &
    local launcher=$! got=0 began
    until [ "$(cat runs/lost/log.jsonl 2>/dev/null | wc -l)" -ge 2 ] || ! kill -0 $launcher 2>/dev/null; do sleep 0.05; done
    kill -s "$1" "$(cat pid)" || fail 'it ended by itself'
    began=$SECONDS
    if [ "$1" = STOP ]; then # the launcher waits for it
        until grep -q 'is silent for' out err || [ $((SECONDS - began)) -gt 30 ]; do sleep 0.1; done
        kill -KILL "$(cat pid)"
    fi
    wait $launcher || got=$?
    [ $((SECONDS - began)) -le 30 ] || fail "$((SECONDS - began)) s until all had ended"
}
if [ "$name" = openmpi ] || [ -n "$full" ]; then
    for a in "${args[@]}"; do [ "$a" = --single-rank ] || kept+=("$a"); done
    args=(train "${kept[@]}" tp=2 pp=1 cp=1 ep=1 sequence_parallel=true cp_comm_type=null micro_batch_size=1 save_interval=null
        train_iters=2000 "${small[@]}" --device cuda dir=runs --no-sync --quiet)
    lost KILL
    # MPICH's launcher sometimes ends who is left before it can speak.
    if [ "$name" = openmpi ]; then
        n=$(cat out err | grep -c 'rank 1 ([^ ]*, pid [0-9]*) is gone; last: ' || true)
        [ "$n" = 1 ] || fail "$n messages"
    fi
    if [ -n "$full" ]; then
        lost STOP
        complains ') is silent for 10 s; last: '
    fi
fi

# ---- torchrun's variables, without an MPI

# torchrun N STATUS ARGUMENT...: what it would start.
port=$((20000 + $$ % 20000)) pids=()
torchrun() {
    local n=$1 want=$2 r got=0 pids=()
    shift 2
    last="torchrun $n: $*"
    for ((r = 0; r < n; r++)); do
        RANK=$r LOCAL_RANK=$r WORLD_SIZE=$n MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$bridge" "$@" >"out.$r" 2>"err.$r" &
        pids+=($!)
    done
    for r in "${pids[@]}"; do wait "$r" || got=$?; done
    cat out.* >out
    cat err.* >err
    [ "$got" = "$want" ] || fail "exit status $got, expected $want"
}
if [ "$name" = mpich ]; then
    alone 0 generate moe "${prompt[@]}" -N 4 --tp 2 --json
    jq -c .ids out >want
    torchrun 2 0 generate moe "${prompt[@]}" -N 4 --tp 2 --json
    jq -c .ids out | cmp - want || fail "torchrun: other tokens than by threads: $(cat want)"
    [ -z "$(find "$work" -name 'cudasim-*')" ] || fail 'a file of NCCL is left'
    if [ -n "$full" ]; then
        trained 2 qwen3_moe ep=2
        mv runs/ranks runs/mpi
        torchrun 2 0 "${args[@]}" name=ranks save_interval=2
        cmp <(numbers threads) <(numbers ranks) || fail "torchrun trains otherwise: $(diff <(numbers threads) <(numbers ranks))"
        alone 0 import moe --megatron-path mcore --quiet
        torchrun 2 0 import moe --megatron-path over --quiet
        "$bridge" diff mcore over >diff 2>&1 || fail "torchrun imports otherwise: $(head -n 3 diff)"
        rm -rf runs
        args=("${args[@]/train_iters=2/train_iters=2000}")
        for r in 0 1; do
            RANK=$r LOCAL_RANK=$r WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$bridge" "${args[@]}" name=lost \
                >"out.$r" 2>"err.$r" &
            pids[r]=$!
        done
        until [ "$(cat runs/lost/log.jsonl 2>/dev/null | wc -l)" -ge 2 ] || ! kill -0 "${pids[0]}" 2>/dev/null; do sleep 0.05; done
        kill -KILL "${pids[1]}" || fail 'torchrun: it ended by itself'
        got=0
        wait "${pids[0]}" || got=$?
        [ $got = 15 ] || fail "torchrun: a rank is killed: exit status $got"
        grep -q '^bridge: rank 1 ([^ ]*, pid [0-9]*) is gone; last: ' err.0 || fail "torchrun: $(cat err.0)"
    fi
    torchrun 2 12 generate moe --input-ids 1,2 --device cpu --tp 2
    grep -qF 'which talk by NCCL, and rank 1 has no GPU; on the CPU ranks talk by MPI, start them with: mpirun -n 2 bridge' err.1 ||
        fail 'not refused'
fi
echo ok
