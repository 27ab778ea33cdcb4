# Where the jobs of a stage run: side by side on this machine.
# shellcheck shell=bash

# run_jobs NJ LOG_DIR COMMAND...: run COMMAND NJ times with JOB replaced by 1..NJ, and wait for all.
# Job 1 is seen on the terminal, the others write LOG_DIR/JOB.log; a job that fails is named.
run_jobs() {
  local nj=$1 log_dir=$2 failed=0 job pids=()
  shift 2
  mkdir -p "$log_dir"
  for ((job = 2; job <= nj; job++)); do
    "${@//JOB/$job}" > "$log_dir/$job.log" 2>&1 &
    pids[job]=$!
  done
  "${@//JOB/1}" || failed=1
  for ((job = 2; job <= nj; job++)); do
    wait "${pids[job]}" && continue
    failed=1
    echo "job $job failed, the end of $log_dir/$job.log:" >&2
    tail -n 5 "$log_dir/$job.log" >&2
  done
  return $failed
}
