# How the parallel jobs of stages 1, 2 and 4 and the training run: on this machine, on the machines of
# a hostfile, or by Slurm. The lines of conf/slurm*.conf are options of sbatch.
# shellcheck shell=bash disable=SC2154  # settings come from avsr.sh

cores() { env -u OMP_NUM_THREADS nproc; } # nproc alone would answer OMP_NUM_THREADS

num_gpus() { # of this machine; those of CUDA_VISIBLE_DEVICES where it is set
  if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    tr ',' '\n' <<< "$CUDA_VISIBLE_DEVICES" | grep -c '^[^-]' || true # -1: none
  else
    nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true
  fi
}

# ---- checks ----------------------------------------------------------------------------------------

allow cmd_backend 'local|slurm' "local or slurm"
if [ "$cmd_backend" = slurm ]; then
  [ -z "$hostfile" ] || die "--hostfile and --cmd_backend slurm exclude each other"
  command -v sbatch > /dev/null || die "--cmd_backend slurm needs sbatch, which is not on this machine"
  if [ "$ngpu" = auto ] && [ "$dry_run" = false ] && { in_stage 2 || in_stage 3 || in_stage 4; }; then
    die "--cmd_backend slurm encodes, trains and decodes on other machines: give --ngpu, the GPUs of each (0: its CPU)"
  fi
elif [ -n "$hostfile" ] && in_stage 3; then
  if [[ $launcher_args != *--no_ssh* && $launcher_args != *--launcher\ * ]]; then
    command -v pdsh > /dev/null || die "--hostfile needs pdsh and ssh without a password; without" \
      "them, start this on every machine with --launcher_args \"--no_ssh --node_rank 0 --master_addr" \
      "<address of the first> --master_port 29500\", --node_rank 1 on the second, ..."
  fi
elif [ "$ngpu" != auto ] && in_stage 3; then
  found=$(num_gpus) # 0 where nvidia-smi is missing
  [ "$found" = 0 ] || [ "$ngpu" -le "$found" ] || die "--ngpu $ngpu: this machine has $found"
fi

# ---- parallel jobs ---------------------------------------------------------------------------------

all_jobs() { if [ "$nj" != auto ]; then echo "$nj"; else cores; fi; } # of stage 0, on this machine

jobs_for() { # data directory, most jobs (default: --nj): as many, but no more than it has clips
  local most=${2:-$nj} clips
  if [ "$most" = auto ]; then
    most=$(if [ "$cmd_backend" = slurm ]; then echo 16; else cores; fi)
  fi
  clips=$(wc -l 2> /dev/null < "$1/wav.scp" || echo "$most")
  echo $((clips > 0 && clips < most ? clips : most))
}

encoder_jobs_for() { # data directory: as jobs_for, but two for each GPU of this machine
  local most=$nj gpus
  gpus=$(num_gpus)
  if [ "$nj" = auto ] && [ "$cmd_backend" = local ] && [ "$gpus" -gt 0 ]; then
    most=$((2 * gpus < $(cores) ? 2 * gpus : $(cores)))
  fi
  jobs_for "$1" "$most"
}

options_of() { # file in conf/: its words, in the array sbatch_options
  read -r -d '' -a sbatch_options < <(grep -v '^#' "$recipe_dir/conf/$1") || true
}

run_jobs() { # folder of logs, jobs, file of options, command that has --num_jobs and --job i/n
  local logs=$1 jobs=$2 options=$3 command merge=() sbatch_options
  shift 3
  if [ "$cmd_backend" = local ]; then
    "$@" --num_jobs "$jobs"
    return
  fi
  options_of "$options"
  mkdir -p "$logs"
  # The number of cores and the number of a task are known only where the task runs.
  command="OMP_NUM_THREADS=\${SLURM_CPUS_PER_TASK:-1} $(printf '%q ' "$@")"
  sbatch --wait --array="1-$jobs" --output="$logs/%a.log" "${sbatch_options[@]}" \
    --wrap "$command --job \$SLURM_ARRAY_TASK_ID/$jobs" || fail $? "a job failed: see $logs/*.log"
  [ "$2 $3" != "-m mome.bin.extract_features" ] || merge=(--merge)
  "$@" --num_jobs "$jobs" "${merge[@]}"
}

fail() { # exit status, message; for a job that failed
  echo "$0: ${*:2}" >&2
  exit "$1"
}

# Batches need memory of ever new sizes. On a CPU, the C library searches its lists for it for up to a
# sixth of a training step; mimalloc finds it at once, and keeps it for the next step.
with_mimalloc() { # command; mimalloc is left out where it is not installed, and for GPUs
  local library=
  if [ "$ngpu" = 0 ]; then
    library=$(python -c "$path_of_mimalloc" 2> /dev/null) || library=
    if [[ $library == *[[:space:]:]* ]]; then library=; fi # LD_PRELOAD would take it for two names
  fi
  if [ -z "$library" ]; then
    "$@"
  else
    LD_PRELOAD=${LD_PRELOAD:+$LD_PRELOAD:}$library MIMALLOC_PURGE_DELAY=${MIMALLOC_PURGE_DELAY:--1} "$@"
  fi
}

path_of_mimalloc='
from importlib.metadata import files
print(next(f.locate() for f in files("cmeel-mimalloc") if f.name == "libmimalloc.so"))'

# Encoding and decoding: a task has a GPU, unless there are none.
gpu_options() { if [ "$ngpu" = 0 ]; then echo slurm.conf; else echo slurm_gpu.conf; fi; }

num_devices() { # processes that decode: one for each GPU of this machine, or as many as train
  local found
  if [ "$cmd_backend" = slurm ]; then
    found=$((num_nodes * ngpu))
  else
    found=$(num_gpus)
    if [ "$ngpu" != auto ] && [ "$ngpu" -lt "$found" ]; then found=$ngpu; fi
  fi
  if [ "$found" = 0 ] && [ "$cmd_backend" = local ]; then found=$cpu_procs; fi
  echo $((found > 0 ? found : 1))
}

# ---- training --------------------------------------------------------------------------------------

run_training() { # options of mome.bin.train, which is started once for each GPU of each machine
  local -x OMP_NUM_THREADS=1
  if [ "$cmd_backend" = slurm ]; then
    train_by_slurm "$@"
  elif [ -n "$hostfile" ]; then
    train_on_hosts "$@"
  else
    local procs=$ngpu launcher visible
    if [ "$ngpu" = 0 ]; then
      procs=$cpu_procs
      OMP_NUM_THREADS=$(($(cores) > procs ? $(cores) / procs : 1))
    fi
    launcher=(--num_gpus "$procs")
    if [ "$ngpu" != 0 ] && [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
      visible=$(cut -d, -f "1-$ngpu" <<< "$CUDA_VISIBLE_DEVICES")
      local -x CUDA_VISIBLE_DEVICES=$visible # beside --num_gpus the launcher would ignore it
      launcher=()
    fi
    launch "$@"
  fi
}

# Start DeepSpeed's launcher with the options in the array `launcher`. It writes to standard output,
# which goes to a log file; training writes to standard error. Each process of a training run writes its
# error to a file, and equal errors are shown once.
launch() { # options of mome.bin.train
  local status=0 before launcher_log=dump/logs/launcher_$tag.log
  local -x MOME_ERROR_FILE=$PWD/dump/logs/.errors_$tag
  mkdir -p dump/logs
  touch "$launcher_log"
  before=$(wc -l < "$launcher_log")
  rm -f "$MOME_ERROR_FILE"
  deepspeed "${launcher[@]}" --master_port "$(free_port)" "${launcher_options[@]}" \
    --module mome.bin.train "$@" >> "$launcher_log" || status=$?
  if [ "$status" = 0 ]; then return; fi
  if [ -f "$MOME_ERROR_FILE" ]; then
    sort -u "$MOME_ERROR_FILE" >&2
    rm -f "$MOME_ERROR_FILE"
  fi
  tail -n "+$((before + 1))" "$launcher_log" | grep -F '[ERROR]' | grep -v 'exits with return code' >&2 || true
  fail "$status" "training ended with status $status; the lines of the launcher are in $launcher_log"
}

train_on_hosts() { # the launcher starts another launcher on each machine, by pdsh and ssh
  local launcher=(--hostfile "$hostfile") environment=$PWD/exp/.$tag.env
  case $ngpu in auto | 0) ;; *) launcher+=(--num_gpus "$ngpu") ;; esac # else: the slots of the hostfile
  # What their shells do not have, in a file that the launcher reads; it adds PYTHON* and NCCL*.
  mkdir -p exp
  install -m 600 /dev/null "$environment"
  {
    env | grep -E '^(PATH|LD_LIBRARY_PATH|LC_ALL|OMP_NUM_THREADS|TOKENIZERS_PARALLELISM|DS_ACCELERATOR|GLOO_[A-Z_]*|HF_HOME|HF_HUB_CACHE|HF_HUB_OFFLINE)='
    echo "MOME_ERROR_FILE=$PWD/dump/logs/.errors_$tag"
    grep -hs = ~/.deepspeed_env .deepspeed_env || true # the user's own, which it would read
  } > "$environment"
  local -x DS_ENV_FILE=$environment
  launch "$@"
}

train_by_slurm() {
  local procs=$ngpu gpus=("--gpus-per-node=$ngpu") output=$PWD/dump/logs/train_$tag.log sbatch_options
  if [ "$ngpu" = 0 ]; then
    procs=$cpu_procs gpus=()
  fi
  options_of slurm_train.conf
  mkdir -p dump/logs
  log "The log of the job is $output"
  sbatch --wait --job-name="$tag" --output="$output" --nodes="$num_nodes" \
    --ntasks-per-node="$procs" "${gpus[@]}" "${sbatch_options[@]}" \
    "$recipe_dir/utils/slurm_train.sh" "$@" || fail $? "training failed: see $output"
}

free_port() {
  python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}
