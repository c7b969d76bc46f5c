#!/usr/bin/env bash
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# commit.sh - the table of docs/conversion.md, "Killed here": each line is a kill -9 that leaves what the line says,
# and the next run, which does what it says.  unit.faults kills at every call; here the states are looked for.
. "$(dirname "$0")/lib.sh"
need_root "kills at a system call"
need_strace

"$BRIDGE" toy qwen3 -o m >/dev/null
"$BRIDGE" toy qwen3 -o m2 --seed 1 >/dev/null
mkdir base
"$BRIDGE" import m --megatron-path base/td -q
"$BRIDGE" export base/td --hf-path base/h -q
job=()

# killed CALLS STATE COMMAND...: kill the command at one after the other of these calls, each time beginning with
# what is in base, until function STATE is true of what is there.
killed() {
    local calls=$1 state=$2 n got
    shift 2
    job=("$@")
    for n in $(seq 1000); do
        rm -rf there
        cp -a base there
        got=0
        (cd there && ASAN_OPTIONS=detect_leaks=0 strace -f -o /dev/null -e inject="$calls:signal=KILL:when=$n" \
            "$BRIDGE" "$@" -q >"$out" 2>"$err") || got=$?
        [ "$got" != 0 ] || break
        if (cd there && "$state"); then
            cd there
            return 0
        fi
    done
    last="$*"
    fail "no kill at $calls leaves the state $state"
}
# finished STATUS_TEXT: the same command succeeds, says so, and leaves nothing over.
finished() {
    local left
    expect 0 "${job[@]}"
    says "$1"
    left=$(find . -name '.bridge*' -o -name '.*bridge-*' -o -name '*.tmp')
    [ -z "$left" ] || fail "left over: $left"
    cd "$work"
}
anew=(export td --hf-path new)
over=(export td --hf-path h --overwrite --torch-dtype float32)
bytes() { stat -c %s "$1/model.safetensors"; }
old=$(bytes base/h)

empty_partial() { [ ! -e new ] && [ -d .new.bridge-partial ] && [ -z "$(ls -A .new.bridge-partial)" ]; }
killed openat empty_partial "${anew[@]}"
finished 'exported '

writing() { [ ! -e new ] && [ -s .new.bridge-partial/.bridge_journal ] && [ -e .new.bridge-partial/model.safetensors ]; }
killed pwrite64 writing "${anew[@]}"
finished 'exported ' # no part of this small model was finished

weights_only() { [ ! -e new ] && [ -e .new.bridge-partial/model.safetensors ] && [ ! -e .new.bridge-partial/config.json ]; }
killed renameat weights_only "${anew[@]}"
finished 'resumed: '

all_but_named() { [ ! -e new ] && [ -e .new.bridge-partial/bridge_manifest.json ]; }
killed renameat all_but_named "${anew[@]}"
finished 'resumed: '

named_with_journal() { [ -e new/.bridge_journal ] && [ ! -e .new.bridge-partial ]; }
killed unlinkat named_with_journal "${anew[@]}"
finished 'up to date: '

marked() { [ "$(bytes h)" = "$old" ] && [ -e h/.bridge_journal ] && [ -e .h.bridge-partial/bridge_manifest.json ]; }
killed renameat2 marked "${over[@]}"
finished 'resumed: '

exchanged() { [ "$(bytes h)" != "$old" ] && [ -e h/.bridge_journal ] && [ "$(bytes .h.bridge-partial)" = "$old" ]; }
killed unlinkat exchanged "${over[@]}"
finished 'up to date: '

half_removed() { [ "$(bytes h)" != "$old" ] && [ ! -e h/.bridge_journal ] && [ ! -e .h.bridge-partial/config.json ] && [ -e .h.bridge-partial ]; }
killed unlinkat half_removed "${over[@]}"
finished 'up to date: '

# a root that has an iteration
second=(import ../m2 --megatron-path td --iteration 5 --overwrite)
untracked() { [ -e td/iter_0000005/.metadata ] && [ "$(cat td/latest_checkpointed_iteration.txt)" = 0 ] && cmp -s td/latest_train_state.pt td/iter_0000000/train_state.pt; }
killed renameat untracked "${second[@]}"
finished 'up to date: '
cd there
complains 'the trackers of'
[ "$(cat td/latest_checkpointed_iteration.txt)" = 5 ] || fail "the tracker is $(cat td/latest_checkpointed_iteration.txt)"
expect 0 verify ../m2 td
cd ..

disagreeing() { [ "$(cat td/latest_checkpointed_iteration.txt)" = 0 ] && cmp -s td/latest_train_state.pt td/iter_0000005/train_state.pt; }
killed renameat disagreeing "${second[@]}"
finished 'up to date: '
[ "$(cat there/td/latest_checkpointed_iteration.txt)" = 5 ] || fail "the trackers disagree"

# a file system that cannot exchange names: two renames
mkdir plain
cp -a base/. plain/
cd plain
status=0
ASAN_OPTIONS=detect_leaks=0 strace -f -o /dev/null -e inject=renameat2:error=EINVAL "$BRIDGE" "${over[@]}" -q || status=$?
[ "$status" = 0 ] && [ "$(bytes h)" != "$old" ] || fail "two renames do not replace"
[ -z "$(find . -name '.*bridge*')" ] || fail "left over: $(find . -name '.*bridge*')"
cd ..
between() { [ ! -e h ] && [ "$(bytes .h.bridge-old)" = "$old" ] && [ -e .h.bridge-partial/bridge_manifest.json ]; }
two() {
    for n in $(seq 400); do
        rm -rf there
        cp -a base there
        cd there
        ASAN_OPTIONS=detect_leaks=0 strace -f -o /dev/null -e inject=renameat2:error=EINVAL \
            -e inject=renameat:$1:when="$n" "$BRIDGE" "${over[@]}" -q >"$out" 2>"$err" && fail "no such renameat"
        if "$2"; then
            return 0
        fi
        cd ..
    done
    fail "never $2"
}
two signal=KILL between
job=("${over[@]}")
finished 'resumed: '
[ "$(bytes there/h)" != "$old" ] || fail "the old result stayed"

# ... and the second of them fails: the old one goes back to its name
put_back() { grep -q "'[^']*/h' is as it was" "$err" && [ "$(bytes h)" = "$old" ] && [ ! -e .h.bridge-old ]; }
two error=EIO put_back
[ ! -e h/.bridge_journal ] || fail "the mark stayed"
job=("${over[@]}")
finished 'resumed: '

# a replaced directory that forbids writing, and one that cannot be removed: the result is there, so it is success
cp -a base ro
chmod 555 ro/h
cd ro
setpriv=(setpriv --reuid=65534 --regid=65534 --clear-groups)
chown -R 65534:65534 .
chmod 755 "$work"
got=0
"${setpriv[@]}" "$BRIDGE" "${over[@]}" >"$out" 2>"$err" || got=$?
[ "$got" = 0 ] && [ "$(bytes h)" != "$old" ] || fail "mode 555: status $got"
[ -z "$(find . -name '.*bridge*')" ] || fail "left over: $(find . -name '.*bridge*')"
cd ..

# a destination that cannot be renamed: work inside of it
mkdir mp
mount -t tmpfs -o size=20m tmpfs mp
trap 'umount mp; rm -rf "$work"' EXIT
moving() { [ ! -e ../mp/config.json ] && [ -e ../mp/.bridge-partial/config.json ] && [ -e ../mp/model.safetensors ]; }
last_moved() { [ -e ../mp/config.json ] && [ -e ../mp/.bridge-partial ]; }
rm -rf base/h
for state in moving last_moved; do
    [ $state = moving ] && call=renameat || call=unlinkat
    for n in $(seq 400); do
        rm -rf mp/* mp/.bridge-partial
        ASAN_OPTIONS=detect_leaks=0 strace -f -o /dev/null -e inject=$call:signal=KILL:when="$n" \
            "$BRIDGE" export base/td --hf-path mp -q >"$out" 2>"$err" && fail "never $state"
        if (cd base && "$state"); then break; fi
    done
    job=(export base/td --hf-path mp)
    expect 0 "${job[@]}"
    [ "$state" = moving ] || says 'up to date: '
    [ "$(ls -A mp | tr '\n' ' ')" = 'bridge_manifest.json config.json generation_config.json model.safetensors ' ] ||
        fail "$state: $(ls -A mp)"
    expect 0 verify mp base/td
done
done_ok
