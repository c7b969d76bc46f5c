# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# faults.sh NAME - what ranks over an MPI (mpich, openmpi) say and do when one fails, is late or is killed: one message
# that names the culprit, and all end.  PROCS = tests/mpi/procs.  A rank that is stopped, or cut off, takes ten seconds to
# be found: scripts/test-ranks.
. "$(dirname "$0")/lib.sh"

# procs WANT WORD...: three ranks; each ends with status WANT, or the launcher does for them.  When one fails, a launcher
# may kill another that is about to end, and give the status of that one.
procs() {
    local want=$1 got=0
    shift
    last="3 ranks: $*"
    timeout 60 "$run" -n 3 "$PROCS" "$module" "$@" >out 2>err || got=$?
    [ "$got" = "$want" ] || { [ "$want" != 0 ] && [ "$got" = 9 ]; } || fail "exit status $got, expected $want"
}
messages() { cat out err | grep -c '^bridge: ' || true; }
# blames TEXT: the only message matches this expression.
blames() {
    [ "$(messages)" = 1 ] || fail "$(messages) messages, expected 1"
    cat out err | grep -qE "^bridge: $1\$" || fail "no message is: $1"
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
killed 2
blames 'rank 2 \([^ ]*, pid [0-9]*\) is gone(; last: collective [0-9]*, all_reduce of 1000 over all ranks)?'
[ "$name" = mpich ] || { echo ok; exit 0; }
# Each of the others says it; the launcher may be gone too early to pass it on (scripts/lib/rank_faults asks for it).
killed 0
said=$(cat out err | grep '^bridge: ' | sort -u || true)
[ -z "$said" ] || grep -qxE 'bridge: rank 0 \([^ ]*, pid [0-9]*\) is gone' <<<"$said" || fail "the ranks that are left say: $said"
echo ok
