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

# Preemption and scancel send SIGTERM to this shell, too; Slurm itself then requeues the job or not.
terminated=
trap 'terminated=yes' TERM

# shellcheck disable=SC2016  # these variables exist only where the task runs
srun --kill-on-bad-exit=1 bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID \
  WORLD_SIZE=$SLURM_NTASKS exec python -m mome.bin.train "$@"' train "$@"
status=$?

# The option --signal sends SIGTERM to the tasks alone before the time is up: they save and end with
# status 143.
if [ "$status" = 143 ] && [ -z "$terminated" ]; then
  echo "The time is up: the job goes back to the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
