#!/usr/bin/env bash
# The job that stage 3 gives to Slurm: training, with a process for each task of each node.
# Its arguments are the options of mome.bin.train.
set -uo pipefail

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
if [ "${DS_ACCELERATOR:-}" = cpu ]; then
  export OMP_NUM_THREADS=$SRUN_CPUS_PER_TASK
fi

# Preemption and scancel tell this shell, too, and whether the job comes again is known to Slurm.
told=
trap 'told=yes' TERM

# shellcheck disable=SC2016  # a task knows its numbers only there
srun --kill-on-bad-exit=1 bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID \
  WORLD_SIZE=$SLURM_NTASKS exec python -m mome.bin.train "$@"' train "$@"
status=$?

# --signal, before the time is up, tells the tasks alone: they have saved and ended with 143.
if [ "$status" = 143 ] && [ -z "$told" ]; then
  echo "The time is up: the job goes back to the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
