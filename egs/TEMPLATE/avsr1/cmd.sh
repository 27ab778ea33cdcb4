# How the parallel jobs of stages 1, 2 and 4 and the training run: here, on the machines of a
# hostfile, or by Slurm. The lines of conf/slurm*.conf are options of sbatch.
# shellcheck shell=bash disable=SC2154,SC2046,SC2086  # settings come from avsr.sh; options are lists

case $cmd_backend in
  local) ;;
  slurm)
    [ -z "$hostfile" ] || die "--hostfile and --cmd_backend slurm exclude each other"
    command -v sbatch > /dev/null || die "--cmd_backend slurm needs sbatch, which is not on this machine"
    ;;
  *) die "--cmd_backend is local or slurm, not '$cmd_backend'" ;;
esac

options_of() { grep -v '^#' "$recipe_dir/conf/$1"; }

run_jobs() { # folder of logs, jobs, file of options, command that knows --num_jobs and --job i/n
  local logs=$1 jobs=$2 options=$3 command
  shift 3
  if [ "$cmd_backend" = local ]; then
    "$@" --num_jobs "$jobs"
    return
  fi
  mkdir -p "$logs"
  # A task knows its cores and its number only there.
  command="OMP_NUM_THREADS=\${SLURM_CPUS_PER_TASK:-1} $(printf '%q ' "$@")"
  # Each task of the array has its log.
  sbatch --wait --array="1-$jobs" --output="$logs/%a.log" $(options_of "$options") \
    --wrap "$command --job \$SLURM_ARRAY_TASK_ID/$jobs" || die "a job failed: see $logs/*.log"
  "$@" --num_jobs "$jobs" $([ "$2 $3" != "-m mome.bin.extract_features" ] || echo --merge)
}

# Encoding and decoding: a task has a GPU, unless there are none.
gpu_options() { if [ "$ngpu" = 0 ]; then echo slurm.conf; else echo slurm_gpu.conf; fi; }

num_devices() { # that decode: GPUs of this machine, or as many as train by Slurm; at least 1
  local found asked=$ngpu
  if [ "$cmd_backend" = slurm ]; then
    found=$((num_nodes * ngpu))
  else
    found=$(num_gpus)
    if [ "$asked" != auto ] && [ "$asked" -lt "$found" ]; then found=$asked; fi
  fi
  echo $((found > 0 ? found : 1))
}

run_training() { # options of mome.bin.train; it is started once for each GPU of each machine
  local -x OMP_NUM_THREADS=1
  if [ "$cmd_backend" = slurm ]; then
    train_by_slurm "$@"
  elif [ -n "$hostfile" ]; then
    train_on_hosts "$@"
  else
    local procs=$ngpu
    if [ "$ngpu" = 0 ]; then
      procs=$cpu_procs
      OMP_NUM_THREADS=$(($(cores) > procs ? $(cores) / procs : 1))
    fi
    deepspeed --num_gpus "$procs" --master_port "$(free_port)" $launcher_args \
      --module mome.bin.train "$@"
  fi
}

train_on_hosts() { # the launcher starts one of its own on each machine, by pdsh and ssh
  local gpus=("--num_gpus=$ngpu") environment=$PWD/exp/.$tag.env
  case $ngpu in auto | 0) gpus=() ;; esac # as many as the hostfile has slots
  if [[ $launcher_args != *--no_ssh* && $launcher_args != *--launcher\ * ]]; then
    command -v pdsh > /dev/null || die "--hostfile needs pdsh and ssh without a password; without" \
      "them, start this on every machine with --launcher_args \"--no_ssh --node_rank 0 --master_addr" \
      "<address of the first> --master_port 29500\", --node_rank 1 on the second, ..."
  fi
  # What their shells do not have, in a file that the launcher reads: it adds PYTHON* and NCCL*.
  mkdir -p exp
  install -m 600 /dev/null "$environment"
  {
    env | grep -E '^(PATH|LD_LIBRARY_PATH|LC_ALL|OMP_NUM_THREADS|TOKENIZERS_PARALLELISM|DS_ACCELERATOR|GLOO_[A-Z_]*|HF_HOME|HF_HUB_CACHE|HF_HUB_OFFLINE)='
    grep -hs = ~/.deepspeed_env .deepspeed_env || true # the user's own, which it would read
  } > "$environment"
  DS_ENV_FILE=$environment deepspeed --hostfile "$hostfile" "${gpus[@]}" \
    --master_port "$(free_port)" $launcher_args --module mome.bin.train "$@"
}

train_by_slurm() {
  local procs=$ngpu gpus=("--gpus-per-node=$ngpu") output=$PWD/dump/logs/train_$tag.log
  if [ "$ngpu" = 0 ]; then
    procs=$cpu_procs gpus=()
  fi
  mkdir -p dump/logs
  log "The log of the job is $output"
  sbatch --wait --job-name="$tag" --output="$output" --nodes="$num_nodes" \
    --ntasks-per-node="$procs" "${gpus[@]}" $(options_of slurm_train.conf) \
    "$recipe_dir/utils/slurm_train.sh" "$@" || die "the training failed: see $output"
}

free_port() {
  python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}
