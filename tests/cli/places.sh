#!/usr/bin/env bash
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# places.sh - where bridge runs: long paths, few descriptors, closed ones, signals, mount points, read-only parents,
# file systems without locks or without much space.
. "$(dirname "$0")/lib.sh"

"$BRIDGE" toy qwen3 -o m >/dev/null
"$BRIDGE" import m --megatron-path td -q

# paths that are too long, and a working directory that is gone
long=$(printf 'a%.0s' $(seq 200))
for i in 1 2 3 4 5; do long=$long/$long; done
expect 3 import m --megatron-path "$long"
complains 'File name too long'
expect 3 export td --hf-path "$(printf 'a%.0s' $(seq 300))"
complains 'File name too long'
mkdir gone
got=0
(cd gone && rmdir "$work/gone" && "$BRIDGE" import "$work/m" --megatron-path x) >"$out" 2>"$err" || got=$?
[ "$got" = 3 ] || fail "a removed working directory: status $got"
complains 'the working directory was removed'

# descriptors: too few, and closed at the start
got=0
(exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- && ulimit -n 4 && exec "$BRIDGE" import m --megatron-path few) >"$out" 2>"$err" || got=$?
[ "$got" = 3 ] || fail "four descriptors: status $got"
complains 'Too many open files in this process; raise the limit'
for closed in '<&-' '>&-' '2>&-' '<&- >&-' '<&- >&- 2>&-'; do
    rm -rf x
    got=0
    eval "\"\$BRIDGE\" import m --megatron-path x --threads 1 -q -v $closed" || got=$?
    [ "$got" = 0 ] || [ "$got" = 3 ] || fail "closed $closed: status $got"
    "$BRIDGE" verify m x >/dev/null || fail "closed $closed: another result"
done
got=0
"$BRIDGE" --version >&- 2>"$err" || got=$?
[ "$got" = 3 ] || fail "a closed standard output is success: $got"

# a run that a signal ends
export TMPDIR=$work/tmp
mkdir tmp
"$BRIDGE" toy qwen3 -o big --set num_hidden_layers=12 --set hidden_size=512 --set vocab_size=60000 >/dev/null
for signal in INT TERM HUP; do
    (exec env --default-signal="$signal" "$BRIDGE" roundtrip big --no-progress >/dev/null 2>&1) & pid=$!
    while [ -z "$(ls -A tmp)" ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
    kill -$signal $pid 2>/dev/null || true # it may have ended
    got=0
    wait $pid 2>/dev/null || got=$?
    [ "$got" = $((128 + $(kill -l $signal))) ] || [ "$got" = 0 ] || fail "$signal: status $got"
    [ -z "$(ls -A tmp)" ] || fail "$signal left $(ls -A tmp)"
done
(exec env --default-signal=INT "$BRIDGE" import big --megatron-path resumed --no-progress >/dev/null 2>"$err") & pid=$!
while [ ! -e .resumed.bridge-partial/.bridge_journal ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -INT $pid 2>/dev/null || true
got=0
wait $pid 2>/dev/null || got=$?
if [ "$got" != 0 ]; then
    [ "$got" = 130 ] || fail "interrupted: status $got"
    complains 'bridge: interrupted'
    complains 'bridge clean resumed'
fi
expect 0 import big --megatron-path resumed -q
unset TMPDIR

need_root "mounts"
trap 'umount mp small 2>/dev/null; rm -rf "$work"' EXIT

# a mount point
mkdir mp small
mount -t tmpfs -o size=20m tmpfs mp
expect 0 import m --megatron-path mp -q
expect 0 verify m mp
[ -z "$(find . mp -maxdepth 1 -name '*bridge-partial*')" ] || fail "left over"
expect 0 import m --megatron-path mp
says 'up to date: '
expect 0 import m --megatron-path mp --overwrite --torch-dtype float32 -q
expect 0 verify m mp --torch-dtype float32
rm -rf mp/*
expect 0 export td --hf-path mp -q
cmp m/model.safetensors mp/model.safetensors
expect 0 export td --hf-path mp
says 'up to date: '
expect 9 export td --hf-path mp --torch-dtype float32
echo '{}' >mp/tokenizer.json # of the old model, not of the new
expect 0 export td --hf-path mp --torch-dtype float32 --overwrite -q
expect 0 export td --hf-path plain --torch-dtype float32 -q
diff -r mp plain || fail "another result than beside"
[ "$(ls -A mp | tr '\n' ' ')" = 'bridge_manifest.json config.json generation_config.json model.safetensors ' ] ||
    fail "after --overwrite: $(ls -A mp)"
rm -rf mp/*

# its space counts, not the parent's; little is enough
mount -t tmpfs -o size=4m tmpfs small
expect 0 import m --megatron-path small -q
rm -rf small/*
"$BRIDGE" toy qwen3 -o large --set vocab_size=40000 >/dev/null
expect 10 import large --megatron-path small
complains 'its file system has'
[ -z "$(ls -A small)" ] || fail "something was written: $(ls -A small)"
expect 10 import large --megatron-path small/td
rm -rf small/td small/.td*

# a destination that may be written in a parent that may not
mkdir -p parent/td parent/h
chmod 755 "$work" parent
chown 65534 parent/td parent/h
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$BRIDGE" "$@"; }
as_nobody import m --megatron-path parent/td -q
as_nobody export td --hf-path parent/h -q
as_nobody export td --hf-path parent/h --torch-dtype float16 --overwrite -q
expect 0 verify m parent/td
expect 0 export td --hf-path plain --torch-dtype float16 --overwrite -q
diff -r parent/h plain || fail "another result than beside"
[ -z "$(find parent -name '*bridge-partial*')" ] || fail "left over"
got=0
as_nobody import m --megatron-path parent/none >"$out" 2>"$err" || got=$?
[ "$got" = 3 ] || fail "a parent that cannot be written: status $got"
complains 'Permission denied'
mount -o remount,ro mp
expect 3 export td --hf-path mp
complains 'Read-only file system'
mount -o remount,rw mp

# no locks
need_strace
for error in ENOSYS ENOLCK EOPNOTSUPP; do
    rm -rf z
    inject flock:error=$error 0 import m --megatron-path z
    complains 'has no locks'
    expect 0 verify m z
done
rm -rf z
inject flock:error=EINTR:when=1 0 import m --megatron-path z
silent
rm -rf z
inject flock:error=EAGAIN 14 import m --megatron-path z
complains 'another process is writing'
inject flock:error=EIO 3 import m --megatron-path z
# no reserving of space
inject fallocate:error=EOPNOTSUPP 0 export td --hf-path zh -q
done_ok
