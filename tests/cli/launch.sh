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

# The batch script for Slurm: as many ranks as the recipe has, and the words as they were typed.
expect 0 launch --slurm job.sh train qwen3_30b_a3b_pretrain_config 'name=a b'
says 'wrote job.sh: 8 ranks on 1 nodes; submit it with: sbatch job.sh'
bash -n job.sh || fail 'the script is no shell script'
grep -qx '#SBATCH --ntasks=8' job.sh || fail 'no 8 tasks'
grep -qF "train qwen3_30b_a3b_pretrain_config 'name=a b' &" job.sh || fail 'other words than were typed'
expect 9 launch --slurm job.sh train qwen3_30b_a3b_pretrain_config
complains "'job.sh' exists"
expect 2 launch --slurm none.sh list
complains 'launch needs the number of ranks, -n N: only a recipe of train has one'
expect 2 launch --slurm none.sh -n 9 --nodes 2 list
complains '9 ranks cannot be shared alike by 2 nodes'
expect 11 launch --slurm none.sh train no_such_recipe
[ ! -e none.sh ] || fail 'a script in spite of the error'

# Run by a srun and a scontrol that stand in for Slurm's.
expect 0 launch --slurm list.sh -n 4 --nodes 2 --mpi mpich list --json
grep -qx '#SBATCH --ntasks-per-node=2' list.sh || fail 'not two tasks on each node'
mkdir slurm
printf '#!/bin/bash\n[ "$1 $2" = "--mpi=pmi2 --kill-on-bad-exit=1" ] || exit 99\nshift 2\n%s\n' \
    'case $DO in run) exec "$@" ;; lost) exit 15 ;; wait) trap "exit 0" TERM; echo up; while :; do sleep 0.1; done ;; esac' >slurm/srun
printf '#!/bin/bash\necho "$@" >>%s/requeued\n' "$work" >slurm/scontrol
chmod +x slurm/srun slurm/scontrol
export PATH=$work/slurm:$PATH SLURM_JOB_ID=42
DO=run bash list.sh >"$out" 2>"$err" || fail 'the script fails'
says '"architectures"'
[ ! -e requeued ] || fail 'it asks for more after all is done'
got=0
DO=lost bash list.sh || got=$?
[ "$got $(cat requeued)" = '15 requeue 42' ] || fail 'a lost rank is no reason to go on'
rm requeued
DO=lost SLURM_RESTART_COUNT=3 bash list.sh && fail 'it goes on for ever'
[ ! -e requeued ] || fail 'it goes on for ever'
DO=wait bash list.sh >up 2>&1 &
script=$!
until [ -s up ]; do sleep 0.05; done
kill -TERM $script
wait $script || fail 'the script fails when its time is over'
[ "$(cat requeued)" = 'requeue 42' ] || fail 'it does not go on when its time is over'

# A command that several processes would do at once.
export PMI_RANK=0 PMI_SIZE=2
expect 12 recipe list
complains "'recipe list' runs in one process, and mpich has started 2; start it alone"
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
RANK=0 WORLD_SIZE=4 LOCAL_RANK=0 MASTER_ADDR=host expect 12 recipe list
complains "'recipe list' runs in one process, and torchrun has started 4; start it alone"
RANK=1 WORLD_SIZE=4 MASTER_ADDR=host expect 2 verify model
complains "torchrun's RANK is set, and LOCAL_RANK is not"
RANK=1 WORLD_SIZE=4 LOCAL_RANK=1 MASTER_ADDR=host expect 12 score model --input-ids 1,2 --device cpu
complains 'torchrun has started 4 processes (WORLD_SIZE), which talk by NCCL, and rank 1 has no GPU; on the CPU ranks talk by MPI, start them with: mpirun -n 4 bridge ...'
echo ok
