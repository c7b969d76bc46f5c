# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# planes.sh NAME - collectives over processes of an MPI (mpich, openmpi): the bits of threads, and what the ranks say when
# something breaks.  PLANES = tests/mpi/planes, BRIDGE_BUILD = the build.
. "$(dirname "$0")/lib.sh"

for n in 2 4; do
    "$PLANES" local $n >want
    timeout 300 "$run" -n $n "$PLANES" "$module" exercise >out 2>err || fail "$n ranks of $name"
    [ "$(wc -l <out)" -gt 100 ] || fail "$n ranks of $name said little"
    cmp want out || fail "$n ranks of $name have other bits than threads: $(diff want out | head -n 3)"
done

# By bridge's own launcher.
timeout 60 "$bridge" launch -n 3 --mpi "$name" --check >out 2>err || fail "launch --check over $name"
grep -qx "ok: 3 ranks over $name" out || fail "launch --check over $name says otherwise"
timeout 60 "$bridge" launch -n 2 --mpi "$name" recipe list >out 2>err && fail "recipe list ran twice"
complains "'recipe list' runs in one process, and $name has started 2"

timeout 60 "$run" $let_live -n 3 "$PLANES" "$module" abort >out 2>err || true
says 'rank 2 gives up'
for r in 0 1; do
    says "rank $r: 15 all_reduce: rank 2 gave up; its own error says why"
    says "rank $r: 15 broadcast: rank 2 gave up; its own error says why"
done
timeout 60 "$run" $let_live -n 2 "$PLANES" "$module" unequal >out 2>err || true
says 'rank 1: 15 exchange: rank 0 sent 20 bytes, expected 32'
says 'rank 0: 15 all_reduce: rank 1 gave up'
timeout 60 "$run" -n 2 "$PLANES" "$module" thread >out 2>err || fail 'another thread'
says 'rank 0: 0 2'
# Not started by this MPI.
OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4 PMI_RANK=0 PMI_SIZE=3 "$PLANES" "$module" thread >out 2>err && fail 'two launchers'
says 'OMPI_COMM_WORLD_SIZE says rank 1 of 4, PMI_SIZE rank 0 of 3: two launchers are at work'
PMI_RANK=3 PMI_SIZE=3 "$PLANES" "$module" thread >out 2>err && fail 'rank 3 of 3'
says 'PMI_RANK is 3, and PMI_SIZE is 3'
PMI_RANK=x PMI_SIZE=3 "$PLANES" "$module" thread >out 2>err && fail 'rank x'
says "PMI_RANK: got 'x', expected a number from 0 to"
"$PLANES" ./none.so thread >out 2>err && fail 'no module'
says "'./none.so' does not load"
echo ok
