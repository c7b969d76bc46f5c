# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# lib.sh - what the tests of the program share.  They run with BRIDGE = the program and
# BRIDGE_TEST_DATA = tests/data, in a directory of their own.
set -euo pipefail
export LC_ALL=C
: "${BRIDGE:?}" "${BRIDGE_TEST_DATA:?}"
data=$BRIDGE_TEST_DATA
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/.out
err=$work/.err
cd "$work"

fail() {
    printf 'FAILED: %s\n' "$*"
    printf -- '-- command: bridge %s\n' "${last:-}"
    head -n 20 "$out" "$err" 2>/dev/null || true
    exit 1
}

# expect STATUS ARGUMENT...: run bridge; its output is in $out and $err.
expect() {
    local want=$1 got=0
    shift
    last=$*
    "$BRIDGE" "$@" >"$out" 2>"$err" || got=$?
    [ "$got" = "$want" ] || fail "exit status $got, expected $want"
}

# says TEXT / complains TEXT: stdout / stderr of the last run holds this text.
says() { grep -qF -- "$1" "$out" || fail "stdout lacks: $1"; }
complains() { grep -qF -- "$1" "$err" || fail "stderr lacks: $1"; }
silent() { [ ! -s "$err" ] || fail "stderr is not empty"; }
mute() { [ ! -s "$out" ] || fail "stdout is not empty"; }
# json FILTER: jq's filter is true of the last run's stdout, which is one JSON value.
json() { jq -e -s "length == 1 and (.[0] | $1)" "$out" >/dev/null || fail "JSON is not: $1"; }
# flip_byte FILE N: change the Nth byte from the end.
flip_byte() {
    local at byte
    at=$(($(stat -c %s "$1") - $2))
    byte=$(od -An -tu1 -j $at -N 1 "$1" | tr -d ' ')
    printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek=$at conv=notrunc status=none
}
# skip WHY: the test can show nothing here.
skip() {
    echo "SKIPPED: $*"
    exit 77
}
# need_fixture PATH: fixtures/PATH of the folder that BRIDGE_SHARED names is there, and becomes $fixture.  CI has
# all of them, so that nothing is skipped there for long.
need_fixture() {
    fixture=${BRIDGE_SHARED:-}/fixtures/$1
    [ ! -e "$fixture" ] || return 0
    [ "${CI:-}" != true ] || fail "no fixtures/$1 in the folder that BRIDGE_SHARED names ('${BRIDGE_SHARED:-}')"
    skip "no fixtures/$1 in the folder that BRIDGE_SHARED names ('${BRIDGE_SHARED:-}')"
}
# need_root WHY: the test mounts, changes owners or injects system calls.  CI runs it.
need_root() {
    [ "$(id -u)" != 0 ] || return 0
    [ "${CI:-}" != true ] || fail "CI is not root: $1"
    skip "only root can: $1"
}
# need_strace: system calls can be made to fail; then inject SPEC STATUS ARGUMENT... runs bridge with strace's
# -e inject=SPEC.  An emulator's own calls are not bridge's.
need_strace() {
    if [ "$(head -c 4 "$BRIDGE" | tail -c 3)" = ELF ] && strace -o /dev/null true 2>/dev/null; then
        return 0
    fi
    [ "${CI:-}" != true ] || fail "strace cannot be used"
    skip "strace cannot be used"
}
inject() {
    local spec=$1 want=$2 got=0
    shift 2
    last="$* (with $spec)"
    ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-} strace -f -o /dev/null -e inject="$spec" \
        "$BRIDGE" "$@" >"$out" 2>"$err" || got=$?
    [ "$got" = "$want" ] || fail "exit status $got, expected $want"
}
# one_thread: one thread computes where nothing else is said.  Toys are so small that two of them would wait for each
# other, and where other tests run beside, 25 times as long as the work takes.  What threads change is asked with
# --threads; conversions have as many as there are CPUs.
one_thread() { export BRIDGE_CPUS=${BRIDGE_CPUS:-1}; }
# tiers: the names that BRIDGE_CPU may have, slowest first.
tiers() { "$BRIDGE" help environment | sed -n 's/^ *BRIDGE_CPU .*: //p' | tr -d ,; }
done_ok() { echo "ok: $(basename "$0" .sh)"; }

# A tier that this machine lacks cannot be tested; the best one is what the test runs on without BRIDGE_CPU.
tier_in_use() { "$@" "$BRIDGE" doctor --json | jq -r .processor.kernels; }
if [ -n "${BRIDGE_CPU:-}" ]; then
    [[ " $(tiers) " = *" $BRIDGE_CPU "* ]] || fail "BRIDGE_CPU=$BRIDGE_CPU: there is no such tier"
    [ "$(tier_in_use env)" = "$BRIDGE_CPU" ] || skip "this machine has no tier '$BRIDGE_CPU'"
    [ -z "${BRIDGE_OTHER_TIERS:-}" ] || [ "$(tier_in_use env -u BRIDGE_CPU)" != "$BRIDGE_CPU" ] ||
        skip "the test without a tier in its name runs on '$BRIDGE_CPU'"
fi
