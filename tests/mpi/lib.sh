# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# lib.sh - what the tests over processes share.  They run as SCRIPT NAME, NAME = mpich or openmpi, with
# BRIDGE_BUILD = the build, in a directory of their own.
set -euo pipefail
export LC_ALL=C
name=$1
module=$BRIDGE_BUILD/lib/bridge/1/comm_$1.so
bridge=$BRIDGE_BUILD/bin/bridge
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# More processes than cores, one thread in each, all on this machine and as whoever runs the tests, without a network.
export BRIDGE_CPUS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl=self,vader OMPI_MCA_pml=ob1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
run=$(command -v "mpirun.$name") || { echo "SKIPPED: no mpirun.$name"; [ "${CI:-}" != true ] || exit 1; exit 77; }
[ -e "$module" ] || { echo "SKIPPED: no comm_$name.so"; [ "${CI:-}" != true ] || exit 1; exit 77; }
# An MPI ends all processes when one leaves early; with this each is to say what it sees.
case $name in
mpich) let_live=-disable-auto-cleanup ;;
openmpi) let_live=--enable-recovery ;;
esac

fail() {
    printf 'FAILED: %s\n' "$*"
    printf -- '-- command: %s\n' "${last:-}"
    head -n 20 out err 2>/dev/null || true
    exit 1
}
# ranks N STATUS ARGUMENT...: bridge as N processes; its output is in out and err.
ranks() {
    local n=$1 want=$2 got=0
    shift 2
    last="$n ranks: $*"
    timeout 120 "$run" -n "$n" "$bridge" "$@" >out 2>err || got=$?
    [ "$got" = "$want" ] || fail "exit status $got, expected $want"
}
# alone STATUS ARGUMENT...: bridge as one process.
alone() {
    local want=$1 got=0
    shift
    last=$*
    "$bridge" "$@" >out 2>err || got=$?
    [ "$got" = "$want" ] || fail "exit status $got, expected $want"
}
says() { grep -qF -- "$1" out || fail "stdout lacks: $1"; }
# complains TEXT: of all that bridge said on stderr, one line has this text.
complains() { [ "$(cat out err | grep -cF -- "$1")" = 1 ] || fail "not one line on stderr says: $1"; }
