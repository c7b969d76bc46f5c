# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# faults.sh NAME - what ranks over an MPI (mpich, openmpi) say and do when one fails, is late or is killed: one message
# that names the culprit, and all end.  PROCS = tests/mpi/procs.  A rank that is stopped, or cut off: hosts.sh.
. "$(dirname "$0")/lib.sh"

# What ranks say: a launcher that sees one of them leave may drop the others' output.
export PROCS_SAID=$work/said
# procs WANT WORD...: three ranks; each ends with status WANT, or the launcher does for them.  When one fails, a launcher
# may kill another that is about to end, and give the status of that one.
procs() {
    local want=$1 got=0
    shift
    last="3 ranks: $*"
    : >said
    timeout 60 "$run" -n 3 "$PROCS" "$module" "$@" >out 2>err || got=$?
    [ "$got" = "$want" ] || { [ "$want" != 0 ] && [ "$got" = 9 ]; } || fail "exit status $got, expected $want"
}
messages() { wc -l <said; }
# blames TEXT [LEAST MOST]: so many messages (1 1), which all match this expression.
blames() {
    local n
    n=$(messages)
    [ "$n" -ge "${2:-1}" ] && [ "$n" -le "${3:-1}" ] || fail "$n messages: $(cat said)"
    [ "$(grep -cxE "bridge: $1" said || true)" = "$n" ] || fail "not every message is: $1: $(cat said)"
    [ "$(sort -u said | wc -l)" -le 1 ] || fail "different messages: $(cat said)"
}

# Each costs a second of starting processes: what does not depend on the MPI, one of them has to show.
case $name in
mpich)
    procs 0 600 tell 2
    procs 10 600 fail 2
    blames 'rank 2 \([^ ]*, pid [0-9]*\): the disk is full'
    procs 15 1 late 1
    blames 'rank 1 \([^ ]*, pid [0-9]*\) keeps others waiting for more than 1 s \(--comm-timeout\); last: reading .a file.'
    ;;
openmpi)
    procs 10 600 busy 1
    blames 'rank 1 \([^ ]*, pid [0-9]*\): the disk is full'
    ;;
esac

# killed RANK: that rank is killed while all add numbers; the others end (scripts/test-ranks: within 5 seconds).
killed() {
    last="3 ranks, rank $1 is killed"
    : >out # what the ranks before wrote is not for these
    : >said
    "$run" $let_live -n 3 "$PROCS" "$module" 600 loop >out 2>err &
    local launcher=$! tries=0 pid
    # A launcher may pass on a part of a line.
    until [ "$(grep -c '^rank . is [0-9]*;$' out)" = 3 ] || [ $((tries += 1)) = 600 ]; do sleep 0.05; done
    pid=$(sed -n "s/^rank $1 is \\([0-9]*\\);\$/\\1/p" out)
    kill -9 "$pid"
    local began=$SECONDS
    wait $launcher || true # --enable-recovery gives 0
    [ $((SECONDS - began)) -le 30 ] || fail "$((SECONDS - began)) s until all had ended"
}
# MPICH's launcher sometimes kills who is left before it can speak, whatever it was told.
killed 2
least=1
[ "$name" = openmpi ] || least=0
blames 'rank 2 \([^ ]*, pid [0-9]*\) is gone(; last: collective [0-9]*, all_reduce of 1000 over all ranks)?' $least 1
[ "$name" = mpich ] || { echo ok; exit 0; }
killed 0
blames 'rank 0 \([^ ]*, pid [0-9]*\) is gone' 0 2
echo ok
