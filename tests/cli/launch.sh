# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# launch.sh - launch and processes that a launcher started: what is refused.  Ranks that run are mpi/planes.sh's business.
. "$(dirname "$0")/lib.sh"

expect 2 launch
complains 'launch needs the number of ranks, -n N'
expect 2 launch --check
complains 'launch needs the number of ranks, -n N'
expect 2 launch -n 2
complains 'launch needs a command to run, or --check'
for n in 0 -1 x 1048577; do
    expect 2 launch -n $n --check
    complains "-n: got '$n', expected a number from 1 to 1048576"
done
expect 2 launch -n
complains "-n: got 'nothing'"
expect 2 launch --gpus 2 -n 2 --check
complains "unknown option '--gpus' (see: bridge help launch)"
expect 2 launch -n 2 --mpi lam --check
complains "--mpi: got 'lam', expected mpich or openmpi"
last="launch -n 2 --check, without PATH" got=0
PATH=/nowhere "$BRIDGE" launch -n 2 --check >"$out" 2>"$err" || got=$?
[ $got = 11 ] || fail "exit status $got, expected 11"
complains 'no MPI to start ranks with: mpich has no '
expect 0 launch --help
says 'bridge launch -n 4 --check'

# A command that several processes would do at once.
export PMI_RANK=0 PMI_SIZE=2
expect 12 recipe list
complains "'recipe list' runs in one process, and mpich has started 2; start it without mpirun"
expect 0 --version
says 'bridge '
# Rank 0 alone prints.
PMI_RANK=1 expect 12 recipe list
mute
silent
PMI_RANK=1 expect 0 --version
mute
PMI_RANK=0 PMI_SIZE=1 expect 0 recipe list
PMI_SIZE=x expect 2 recipe list
complains "PMI_SIZE: got 'x', expected a number from 0 to 1048576"
OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 expect 2 recipe list
complains 'OMPI_COMM_WORLD_SIZE says rank 1 of 2, PMI_SIZE rank 0 of 2: two launchers are at work'
RANK=1 WORLD_SIZE=2 MASTER_ADDR=host expect 2 recipe list
complains 'PMI_SIZE says rank 0 of 2, WORLD_SIZE rank 1 of 2: two launchers are at work'
RANK=0 WORLD_SIZE=2 MASTER_ADDR=host expect 12 recipe list
unset PMI_RANK PMI_SIZE

# Slurm: a batch script is no task of srun; a task without an MPI would be alone.
SLURM_PROCID=0 SLURM_NTASKS=4 expect 0 recipe list
SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1 expect 0 recipe list
SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=4 expect 2 recipe list
complains 'srun has started 4 tasks without an MPI (SLURM_STEP_NUM_TASKS); give it --mpi=pmi2 for MPICH or --mpi=pmix for Open MPI'
PMIX_RANK=0 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=4 expect 12 recipe list
complains "'recipe list' runs in one process, and openmpi has started 4"

# torchrun
RANK=0 WORLD_SIZE=1 MASTER_ADDR=host expect 0 recipe list
RANK=0 WORLD_SIZE=4 expect 0 recipe list
RANK=1 WORLD_SIZE=4 MASTER_ADDR=host expect 12 recipe list
complains 'torchrun has started 4 processes (WORLD_SIZE); ranks of bridge talk by MPI, start them with: mpirun -n 4 bridge ...'
echo ok
