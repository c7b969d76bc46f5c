# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train.sh NAME - training as processes of an MPI (mpich, openmpi): the numbers and checkpoints of ranks that are threads,
# bit for bit; a checkpoint that all processes wrote goes on at other topologies; what is refused, stopped, killed.
# `BRIDGE_RANKS_ALL=1` takes every topology (scripts/test-ranks).
here=$(realpath "$(dirname "$0")")
. "$here/lib.sh"
. "$here/../cli/libtrain.sh"
full=${BRIDGE_RANKS_ALL:-}
data=$BRIDGE_TEST_DATA/train

# shared CASE [SETTING...]: `args` of a case, without the ranks.
shared() {
    local case=$1 a kept=()
    shift
    typed "$data/$case" ${model:+"$model"}
    for a in "${args[@]}"; do [ "$a" = --single-rank ] || kept+=("$a"); done
    args=("${kept[@]}" tp=1 pp=1 cp=1 ep=1 etp=null vpp=null pp_layout=null sequence_parallel=false cp_comm_type=null
        micro_batch_size=1 "$@")
}
# threads N NAME [SETTING...] and processes N NAME [SETTING...]: `args` as a run of that name.
threads() {
    local n=$1 as=$2
    shift 2
    alone 0 train "${args[@]}" "$@" --ranks "$n" dir=runs name="$as" --no-sync --quiet
}
processes() {
    local n=$1 as=$2
    shift 2
    ranks "$n" 0 train "${args[@]}" "$@" dir=runs name="$as" --no-sync --quiet
}
numbers() { jq -c '[.iteration, .split, .lm_loss, .grad_norm, .num_zeros, .learning_rate, .load_balancing_loss, .z_loss, .mtp_1_loss,
    .tokens, .loss_tokens]' "runs/$1/log.jsonl" | awk '!seen[$0]++'; }
# same A B: two runs have the same numbers and, of each step that both saved, the same checkpoint.
same() {
    local step n=0
    cmp <(numbers "$1") <(numbers "$2") >/dev/null || fail "$1 and $2: $(diff <(numbers "$1") <(numbers "$2") | head -n 4)"
    for step in runs/"$1"/checkpoints/iter_*; do
        step=$(basename "$step")
        [ -e "runs/$2/checkpoints/$step" ] || continue
        "$bridge" diff "runs/$1/checkpoints/$step" "runs/$2/checkpoints/$step" >diff 2>&1 || fail "$1 and $2, $step: $(head -n 3 diff)"
        n=$((n + 1))
    done
    [ $n -gt 0 ] || fail "$1 and $2 have no checkpoint of the same step"
}
# Every rank has written, and nothing is left of the way there.
shared_out() {
    local r
    for ((r = 0; r < $1; r++)); do
        [ -n "$(find "runs/$2/checkpoints" -name "__${r}_*.distcp")" ] || fail "$2: rank $r wrote nothing"
    done
    [ -z "$(find "runs/$2" -name '*bridge-partial*')" ] || fail "$2: something is left over"
}
# cell N CASE [SETTING...]: threads and processes, saved at steps 3 and 6.
cell() {
    local n=$1 case=$2
    shift 2
    shared "$case" train_iters=6 save_interval=3 "$@"
    rm -rf runs
    threads "$n" threads
    processes "$n" ranks
    same threads ranks
    shared_out "$n" ranks
    echo "$n $case $*"
}
# on N CASE [SETTING...]: the run of `cell` goes on from its step 3 otherwise, to nearly its losses: threads from what the
# threads wrote, processes from what the processes wrote.
on() {
    local n=$1 case=$2
    shift 2
    shared "$case" train_iters=6 save_interval=null ckpt_step=3 "$@"
    rm -rf runs/on-*
    threads "$n" on-threads load=runs/threads/checkpoints
    processes "$n" on-ranks load=runs/ranks/checkpoints
    same on-threads on-ranks
    jq -n -e --slurpfile whole runs/threads/log.jsonl --slurpfile rest runs/on-ranks/log.jsonl --argjson tol "${tolerance:-2e-5}" '
        def steps: map(select(has("split") | not)); ($whole[0:] | steps) as $a | ($rest[0:] | steps) as $b |
        ($b | length) == 3 and all(range(3); $b[.].iteration == . + 4 and ($a[. + 3].lm_loss - $b[.].lm_loss | fabs) <= $tol)' >/dev/null ||
        fail "$*: other losses than those of the run that it goes on from"
    echo "  goes on: $n $*"
}

if [ -n "$full" ]; then
    "$bridge" toy qwen3 -o dense --quiet --set num_hidden_layers=8 num_attention_heads=8 num_key_value_heads=4 head_dim=16 \
        hidden_size=32 intermediate_size=64 vocab_size=128 >/dev/null
    "$bridge" toy qwen3_moe -o moe --quiet --set num_hidden_layers=8 num_attention_heads=8 num_key_value_heads=4 head_dim=16 \
        hidden_size=32 moe_intermediate_size=16 num_experts=8 vocab_size=128 >/dev/null
    cp "$data"/qwen3/hf/tokenizer* dense
    cp "$data"/qwen3_moe/hf/tokenizer* moe
    model=$work/dense
    cell 2 qwen3 tp=2
    on 2 qwen3 cp=2
    on 2 qwen3 pp=2
    on 1 qwen3
    cell 2 qwen3 tp=2 sequence_parallel=true
    on 2 qwen3 pp=2 vpp=2
    on 4 qwen3 cp=2
    on 2 qwen3
    cell 2 qwen3 pp=2
    on 2 qwen3 tp=2
    on 2 qwen3 cp=2
    on 4 qwen3 pp=4
    cell 2 qwen3 pp=2 vpp=2
    on 2 qwen3 tp=2
    on 4 qwen3 pp=2 cp=2
    on 2 qwen3
    cell 2 qwen3
    on 2 qwen3 cp=2
    on 2 qwen3 pp=2 vpp=2
    on 4 qwen3 tp=2
    cell 2 qwen3 cp=2
    on 4 qwen3
    on 2 qwen3 pp=2
    on 2 qwen3 tp=2 sequence_parallel=true
    tolerance=2e-2
    cell 2 qwen3 mixed_precision=bf16_mixed
    on 2 qwen3 mixed_precision=bf16_mixed tp=2
    on 2 qwen3 mixed_precision=bf16_mixed pp=2
    on 2 qwen3 mixed_precision=bf16_mixed cp=2
    tolerance=
    cell 2 qwen3 ddp_use_distributed_optimizer=false opt_use_distributed_optimizer=false async_save=true
    on 2 qwen3 tp=2
    model=$work/moe
    cell 2 qwen3_moe ep=2
    on 2 qwen3_moe tp=2 sequence_parallel=true
    on 2 qwen3_moe pp=2
    on 2 qwen3_moe cp=2
    cell 2 qwen3_moe tp=2 etp=2 sequence_parallel=true
    on 2 qwen3_moe ep=2
    on 2 qwen3_moe pp=2 vpp=2
    on 4 qwen3_moe tp=2 pp=2 sequence_parallel=true
    cell 4 qwen3_moe tp=2 pp=2 ep=2 etp=1 sequence_parallel=true
    on 2 qwen3_moe ep=2
    on 2 qwen3_moe cp=2
    on 4 qwen3_moe pp=4
    model=
    cell 4 qwen3_next_mtp tp=2 ep=2 sequence_parallel=true
    on 2 qwen3_next_mtp pp=2
    on 2 qwen3_next_mtp cp=2
    on 2 qwen3_next_mtp ep=2
    model=$data/qwen2_sft/model
    for case in qwen2_lora qwen2_dora; do
        cell 2 $case tp=2
        on 2 $case
        on 2 $case pp=2
        on 1 $case
    done
    model=
fi

# ---- a sample: what depends on the MPI; and goes on over pipeline stages

case $name in
mpich)
    cell 4 qwen3_moe tp=2 pp=2 ep=2 etp=1 sequence_parallel=true async_save=true
    on 2 qwen3_moe cp=2
    ;;
openmpi)
    split=(dataset_split=8,1,1) # the order of the data hangs on it
    cell 2 qwen3 tp=2 sequence_parallel=true "${split[@]}" eval_iters=2 eval_interval=2
    [ "$(jq -s 'map(select(.split)) | length' runs/ranks/log.jsonl)" -ge 4 ] || fail 'no evaluations'
    on 2 qwen3 pp=2 "${split[@]}"
    ;;
esac

# ---- what rank 0 writes and holds is its share

# Two data-parallel ranks have half of the state each.  measured FILE COMMAND...: the most memory that it had, in KiB.
cat >measured <<'PY'
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:], close_fds=False)
with open(sys.argv[1], "w") as f:
    f.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
PY
if [ "$name" = mpich ]; then
    "$bridge" toy qwen3 -o half --quiet --set num_hidden_layers=4 hidden_size=256 intermediate_size=1024 vocab_size=4096 >/dev/null
    rm -rf runs
    half=(train qwen3_600m_pretrain_config hf_model=half mock=true tokenizer_type=NullTokenizer tokenizer_vocab_size=4000
        train_iters=2 global_batch_size=2 micro_batch_size=1 seq_length=32 lr_warmup_iters=1 eval_iters=0 save_interval=1
        mixed_precision=bf16_mixed cp_comm_type=null sequence_parallel=false tp=1 pp=1 cp=1 dir=runs name=half --no-sync --quiet)
    last="measured: ${half[*]}"
    timeout 120 "$run" -n 1 python3 measured memory.0 "$bridge" "${half[@]}" : -n 1 python3 measured memory.1 "$bridge" "${half[@]}" \
        >out 2>err || fail "exit status $?"
    bytes() { cat runs/half/checkpoints/iter_0000002/__"$1"_*.distcp | wc -c; }
    state=$(($(bytes 0) + $(bytes 1)))
    [ $(($(bytes 0) - $(bytes 1))) -lt $((state / 100)) ] || fail "rank 0 wrote $(bytes 0) bytes, rank 1 $(bytes 1)"
    more=$(($(cat memory.0) - $(cat memory.1)))
    [ $((more * 1024)) -lt $((state / 8)) ] || fail "rank 0 had $more KiB more than rank 1; the state has $state bytes"
    echo "of $state bytes rank 0 wrote $(bytes 0) and had $more KiB more memory than rank 1"
fi

# ---- another recipe, other data

# two COMMAND...: the same command as two processes, the second in the folder `other`.
two() {
    last="two folders: $*"
    local got=0
    case $name in
    mpich) timeout 60 "$run" -n 1 -wdir . "$bridge" "$@" : -n 1 -wdir other "$bridge" "$@" >out 2>err || got=$? ;;
    openmpi) timeout 60 "$run" -n 1 "$bridge" "$@" : -n 1 --wdir "$work/other" "$bridge" "$@" >out 2>err || got=$? ;;
    esac
    [ $got = 2 ] || fail "exit status $got, expected 2"
}
if [ "$name" = mpich ]; then
    mkdir -p other
    shared qwen3
    args=("${args[@]/lr=0.005/tp=1}")
    echo 'lr = 0.005' >recipe
    echo 'lr = 0.004' >other/recipe
    two train "${args[@]}" --recipe-file recipe dir=runs name=recipes
    complains "rank 1 ("
    complains "another recipe than that of rank 0 ("
    complains "'lr = 0.004', and there 'lr = 0.005'"
    cp recipe other/recipe
    cp "$data"/qwen3/data.* .
    cp "$data"/qwen3/data.* other
    printf '\001' | dd of=other/data.bin bs=1 seek=40 conv=notrunc status=none
    two train "${args[@]}" --recipe-file recipe data_paths=data dir=runs name=recipes
    complains "another data than that of rank 0 ("
    [ ! -e runs/recipes/checkpoints ] || fail 'a run that was refused left checkpoints'
fi

# ---- a rank that lives and does not come

# late SECONDS WORD...: rank 1 does not come to the end of a save, and is named after so many seconds.
late() {
    local got=0 began=$SECONDS
    last="rank 1 is late: ${*:2}"
    rm -rf runs/late
    set -- "$1" "$bridge" train "${args[@]}" dir=runs name=late --quiet "${@:2}"
    timeout 300 "$run" -n 1 "${@:2}" : -n 1 strace -f -qq -o /dev/null -e trace=fsync,fdatasync \
        -e inject=fsync,fdatasync:delay_enter=200000000 "${@:2}" >out 2>err || got=$?
    [ $got != 0 ] || fail 'it ended without an error'
    complains "keeps others waiting for more than $1 s (--comm-timeout)"
    grep -q '^bridge: rank 1 (.*, pid [0-9]*) keeps others waiting' out err || fail 'another rank is named'
    [ $((SECONDS - began)) -ge "$1" ] || fail "named before $1 s were over"
    [ -z "$(find runs/late -name 'iter_*')" ] || fail 'a rank that did not come left a checkpoint'
}
if [ -n "$full" ] && strace -qq -o /dev/null -e inject=fsync:delay_enter=1 true 2>/dev/null; then
    shared qwen3 save_interval=1 train_iters=2 lr_warmup_iters=1 distributed_timeout_minutes=1
    late 60
    late 5 --comm-timeout 5
fi

# ---- a run that is stopped, killed, or whose disk is full on one rank, goes on

shared qwen3 save_interval=1 train_iters=12
rm -rf runs
threads 2 whole save_interval=null
# begun COMMAND WORD...: the run in the background, of whose second rank the process is in `pid`.
begun() {
    rm -f pid
    rm -rf runs/broken
    "$run" -n 1 "$bridge" train "${args[@]}" dir=runs name=broken --no-sync --quiet : -n 1 bash -c \
        'echo $$ >pid.new && mv pid.new pid && exec "$@"' - "$bridge" train "${args[@]}" dir=runs name=broken --no-sync --quiet \
        >out 2>err &
    launcher=$!
}
# broken COMMAND WORD...: done to rank 1, its pid the last word, when the third step is done; again if the run was faster.
broken() {
    local tries=0 got=0
    last="$* rank 1"
    while :; do
        begun
        until [ "$(cat runs/broken/log.jsonl 2>/dev/null | wc -l)" -ge 3 ] || ! kill -0 $launcher 2>/dev/null; do sleep 0.02; done
        "$@" "$(cat pid)" 2>/dev/null || true
        got=0
        wait $launcher || got=$?
        [ $got = 0 ] || break
        [ $((tries += 1)) -lt 20 ] || fail "the run ended before the signal, 20 times"
    done
    status=$got
}
goes_on() {
    processes 2 broken
    same whole broken
    shared_out 2 broken
}
broken kill -KILL
goes_on
if [ "$name" = mpich ]; then
    broken kill -TERM
    [ $status = 19 ] || fail "exit status $status after SIGTERM, expected 19"
    complains 'stopped by a signal after iteration '
    steps=$(wc -l <runs/broken/log.jsonl)
    [ "$(cat runs/broken/checkpoints/latest_checkpointed_iteration.txt)" = "$steps" ] || fail "$steps steps, and the last is not saved"
    goes_on

    # No file of rank 1 may have more than 20 KiB from now on.
    broken prlimit --fsize=20480 --pid
    complains 'bridge: rank 1 ('
    complains ': File too large'
    [ "$(cat runs/broken/checkpoints/latest_checkpointed_iteration.txt)" -ge 2 ] || fail 'the checkpoints before it are gone'
    goes_on
fi
echo ok
