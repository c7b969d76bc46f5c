# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_disk.sh - a run whose disk is full, or fails while it saves, ends with a clear word; the checkpoints before stay,
# nothing half-written does, and the same command goes on from them to the numbers of an unbroken run.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
need_root 'a small file system is mounted'
need_strace
typed "$data/train/qwen3"
args+=(train_iters=12 save_interval=2)
expect 0 train "${args[@]}" dir=runs name=whole
numbers() { jq -c '[.iteration, .lm_loss, .grad_norm, .consumed_samples]' "$1/log.jsonl"; }
latest() { cat "$1/checkpoints/latest_checkpointed_iteration.txt"; }
# kept DIR: the run's last checkpoint, of step $step, is whole.
kept() {
    step=$(latest "$1")
    expect 0 inspect "$1/checkpoints"
    says "iteration $step, "
    expect 0 diff "runs/whole/checkpoints/iter_$(printf %07d "$step")" "$1/checkpoints/iter_$(printf %07d "$step")"
}
# goes_on DIR NAME: the same command ends as the whole run did.  $log: whole, or lost: a run that cannot write its log goes
# on without it, and says so at its end.
goes_on() {
    expect 0 train "${args[@]}" dir="$1" name="$2"
    [ $log = lost ] || cmp <(numbers runs/whole) <(numbers "$1/$2") || fail "$1/$2: other numbers than an unbroken run"
    expect 0 diff runs/whole/checkpoints "$1/$2/checkpoints"
    [ -z "$(find "$1/$2" -name '*bridge-partial*')" ] || fail "$1/$2: something is left over"
}

# ---- a disk that is full after two or three checkpoints; made larger, the run goes on

size=$(du -sk --apparent-size runs/whole/checkpoints/iter_0000002 | cut -f 1)
mkdir small
mount -t tmpfs -o size=$((size * 5 / 2 + 5000))k tmpfs small # a save leaves 4 MiB free
trap 'umount small; rm -rf "$work"' EXIT
expect 10 train "${args[@]}" dir=small name=r
complains "in 'small/r/checkpoints'"
complains ', its file system has '
log=whole
kept small/r
[ "$step" -ge 2 ] && [ "$step" -lt 12 ] || fail "the last checkpoint is $step"
mount -o remount,size=$((size * 12 + 9000))k small
goes_on small r

# ---- a call fails once, of the cache's files or of a save: the message has the cause and the file

for spec in pwrite64:error=ENOSPC pwrite64:error=EIO fsync:error=EIO rename,renameat,renameat2:error=EIO; do
    for when in 2 9 17; do
        name=${spec%%[:,]*}-$when-${spec##*=}
        got=0
        last="train with $spec at call $when"
        ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-} strace -f -o trace -e inject="$spec:when=$when" \
            "$BRIDGE" train "${args[@]}" dir=runs name="$name" >"$out" 2>"$err" || got=$?
        grep -q INJECTED trace || continue
        log=whole
        ! grep -q 'not complete' "$err" || log=lost
        case $spec in
        *ENOSPC) want=10 cause='No space left on device' ;;
        *) want=3 cause='Input/output error' ;;
        esac
        [ $got = $want ] || fail "$name: exit status $got, expected $want"
        complains "$cause"
        complains "runs/$name/"
        [ ! -e "runs/$name/checkpoints/latest_checkpointed_iteration.txt" ] || kept "runs/$name"
        goes_on runs "$name"
        echo "$name: failed, and went on"
    done
done

# ---- what retention cannot remove is said, and left to the next save

expect 0 train "${args[@]}" exit_interval=2 dir=runs name=held
# Of an old one .metadata goes first, by a path that nothing else of a run is removed by.
ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-} strace -f -o trace -P .metadata -e inject=unlinkat:error=EIO:when=1 \
    "$BRIDGE" train "${args[@]}" most_recent_k=1 dir=runs name=held >"$out" 2>"$err" || fail "a checkpoint that cannot be removed ends the run"
grep -q INJECTED trace || fail "nothing was injected"
complains 'old checkpoints were not removed: '
complains 'Input/output error'
[ "$(cd runs/held/checkpoints && echo iter_*)" = iter_0000012 ] || fail "the next save does not remove it"
done_ok
