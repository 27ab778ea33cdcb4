# How the parallel jobs of stages 1 and 2 run: in processes here, or as an array of Slurm.
# shellcheck shell=bash disable=SC2154,SC2046  # settings come from avsr.sh; options are a list

run_jobs() { # folder of logs, command that knows --num_jobs and --job i/n
  local logs=$1 command
  shift
  if [ "$cmd_backend" = local ]; then
    "$@" --num_jobs "$nj"
    return
  fi
  [ "$cmd_backend" = slurm ] || die "--cmd_backend is local or slurm, not '$cmd_backend'"
  command -v sbatch > /dev/null || die "--cmd_backend slurm needs sbatch, which is not on this machine"
  mkdir -p "$logs"
  command=$(printf '%q ' "$@")
  # The lines of conf/slurm.conf are options of sbatch; each task has its log.
  sbatch --wait --array="1-$nj" --output="$logs/%a.log" $(grep -v '^#' "$recipe_dir/conf/slurm.conf") \
    --wrap "$command --job \$SLURM_ARRAY_TASK_ID/$nj" || die "a job failed: see $logs/*.log"
  "$@" --num_jobs "$nj" $([ "$2 $3" != "-m mome.bin.extract_features" ] || echo --merge)
}
