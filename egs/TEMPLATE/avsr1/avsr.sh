# The stages of every recipe, in one place. A recipe's run.sh makes the settings and sources this.
# What each stage reads and writes: egs/README.md.
# shellcheck shell=bash disable=SC2154  # run.sh, utils/ and mome.bin.check_settings set variables

log() { echo "$(date '+%Y-%m-%dT%H:%M:%S') (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}:${FUNCNAME[1]}) $*"; }

in_stage() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }

# ---- the settings, checked before anything is installed or written ---------------------------------

recipe_dir=$PWD
recipe_started=$SECONDS
commit=$(git rev-parse --short HEAD 2>/dev/null || true)

share='0?\.[0-9]+|0|1'
allow stage '[0-7]' "a stage, 0 to 7"
allow stop_stage '[0-7]' "a stage, 0 to 7"
[ "$stage" -le "$stop_stage" ] || die "--stage $stage comes after --stop_stage $stop_stage: nothing would run"
allow dry_run 'true|false' "true or false"
allow include_base 'true|false' "true or false"
[ "$stop_stage" -lt 7 ] || [[ $hub_repo == ?*/?* ]] ||
  die "--hub_repo '$hub_repo': stage 7 needs a repository of the hub, OWNER/NAME"
allow nj 'auto|[1-9][0-9]*' "a number of jobs, 1 or more, or auto"
allow max_skipped "$share" "a share of the clips, 0 to 1, such as 0.01"
allow max_skipped_test "$share" "a share of the clips, 0 to 1, such as 0.01"
allow ngpu 'auto|[0-9]+' "a number of GPUs, 0 (the CPU) or more, or auto"
allow landmarks_every '[1-9][0-9]*' "a number of images, 1 or more"
allow min_found "$share" "a share of the images, 0 to 1, such as 0.5"
allow cpu_procs '[1-9][0-9]*' "a number of processes, 1 or more"
allow num_nodes '[1-9][0-9]*' "a number of machines, 1 or more"
allow decode_model 'best|average|checkpoints/step_[0-9]+' "best, average or checkpoints/step_<n>"
[ -n "$train_config" ] || die "no --train_config was given; there are: $(echo conf/train_*.yaml)"
[ -f "$train_config" ] || die "no configuration $train_config; there are: $(echo conf/train_*.yaml)"
[ -z "$tuning" ] || [ -f "$tuning" ] || die "no list $tuning; there are: $(echo conf/tuning/*.txt)"
[ -z "$hostfile" ] || [ -f "$hostfile" ] ||
  die "no hostfile $hostfile: a file with a line for each machine, such as 'node1 slots=8'"
. ./cmd.sh # checks cmd_backend and what it needs

. ./path.sh
settings=()
while IFS='=' read -r name _; do
  settings+=("$name=${!name}")
done < <(_settings)
checked=$(python -m mome.bin.check_settings --recipe "$0" "${settings[@]}") || exit
eval "$checked"

train_config=$(readlink -f "$train_config")
[ -z "$tuning" ] || tuning=$(readlink -f "$tuning")
[ -z "$hostfile" ] || hostfile=$(readlink -f "$hostfile")
[ -n "$tag" ] || tag=$(basename "$train_config" .yaml)
exp=exp/$tag
feats=dump/feats
if [ "$ngpu" = auto ] && [ "$cmd_backend" = local ] && [ -z "$hostfile" ]; then
  ngpu=$(num_gpus)
fi
if [ "$ngpu" = 0 ]; then
  export DS_ACCELERATOR=cpu # otherwise DeepSpeed looks for a GPU
fi
skip_options=(--max_skipped "$max_skipped" --max_skipped_test "$max_skipped_test")

# The recipe's own folders elsewhere; a dry run makes none.
if [ "$work_dir" != . ] && { [ "$dry_run" = false ] || [ -d "$work_dir" ]; }; then
  mkdir -p "$work_dir"
  cd "$work_dir" || exit
fi
[ -w . ] || [ "$dry_run" = true ] || die "$PWD cannot be written: give --work_dir a folder that can"
[ . -ef "$recipe_dir" ] || ln -sfn "$recipe_dir/conf" conf

# The value of a key of the train config, train_args included.
setting() {
  [ -n "${config[$1]+set}" ] || die "the train config has no setting $1"
  printf "%s\n" "${config[$1]}"
}

# ---- the stages ------------------------------------------------------------------------------------

stage_start() { # number, what it does
  log "Stage $1: $2"
  stage_started=$SECONDS
}

stage_end() { # number; its time, the command and the commit go to a table for the report
  local spent=$((SECONDS - stage_started))
  log "Stage $1 took $((spent / 60)) min $((spent % 60)) s"
  mkdir -p "$exp"
  printf '%s\t%s\t%s\t%s\n' "$1" "$spent" "$command_line" "$commit" >> "$exp/stages.tsv"
}

# Stages 0 to 2 make what all experiments of a work directory share: one run at a time is in them, while
# stages from 3 on of several tags run side by side. Jobs inherit descriptor 9, so the system frees the
# lock when the run and all of its jobs have ended, even if they were killed.
lock_shared() {
  local status=0
  { mkdir -p dump && exec 9>> dump/.lock && flock --nonblock --conflict-exit-code 75 9; } 2> /dev/null || status=$?
  if [ "$status" = 0 ]; then
    echo "$$ $HOSTNAME $(date '+%Y-%m-%dT%H:%M:%S') $command_line" > dump/.lock
  elif [ "$status" = 75 ]; then
    exec 9>&- # this process is not one of those that hold it
    fail 1 "another run makes data/ and dump/ in $PWD: $(lock_holder); wait until it has ended, or give" \
      "--work_dir another folder; if both are whole already, begin with --stage 3"
  else
    log "dump/.lock cannot be locked: do not start two runs in $PWD"
  fi
}

lock_holder() { # the run that has the lock, or the jobs that it has left
  local pid host since command_line jobs="" file
  read -r pid host since command_line < dump/.lock || pid=unknown
  if [ "$host" != "$HOSTNAME" ] || [ -d "/proc/$pid" ]; then
    echo "process $pid on $host since $since ($command_line)"
    return
  fi
  for file in /proc/[0-9]*/fd/9; do
    if [ "$file" -ef dump/.lock ]; then jobs+=" $(cut -d/ -f3 <<< "$file")"; fi
  done
  echo "process(es)$jobs on $host, left by a run that was killed ($command_line)"
}

# Each line of a tuning list is an experiment: a name, then changes to the train config.
tune() {
  local base=$tag first=$stage name changes number=0
  if [ "$stage" -lt 3 ] && [ "$dry_run" = false ]; then
    "$recipe_dir/run.sh" "${given_options[@]}" --tuning "" --stop_stage "$((stop_stage < 2 ? stop_stage : 2))"
    first=3
  fi
  while read -r name changes <&3; do
    if [[ -z $name || $name == \#* || $first -gt $stop_stage ]]; then continue; fi
    number=$((number + 1))
    log "Experiment $number of $tuning: $name, with $changes"
    "$recipe_dir/run.sh" "${given_options[@]}" --tuning "" --stage "$first" \
      --tag "${base}_$name" --train_args "$train_args $changes"
  done 3< "$tuning"
}

make_data() {
  # In a shell of its own: bash 5.2 gives a wrong error message when a sourced file fails here.
  (. "$recipe_dir/local/data.sh")
}

make_media() {
  local set
  for set in train valid test; do
    run_jobs "dump/logs/mouths_$set" "$(jobs_for "data/$set")" slurm.conf \
      python -m mome.bin.crop_mouths "data/$set" "dump/mouths/$set" --landmarks "$landmarks" \
      --landmarks_every "$landmarks_every" --min_found "$min_found" "${skip_options[@]}"
  done
  if [ "${#test_sets[@]}" -gt 1 ]; then
    python -m mome.bin.add_noise data/test data/test --noise "${noises[@]}" --snrs "${snrs[@]}" \
      --noise_data data/train --noisy_dir dump/noisy ${noise_dir:+--noise_dir "$noise_dir"}
  fi
}

make_features() {
  local set options noisy_snrs extract sets_at_once=1 clean_made=false stored=(train valid "${test_sets[@]}")
  audio_encoder=$(setting encoders.audio)
  video_encoder=$(setting encoders.video)
  if [ -f "$recipe_dir/local/video_encoder.sh" ]; then # the corpus has no pretrained one
    # shellcheck source=/dev/null
    (. "$recipe_dir/local/video_encoder.sh")
  fi
  if [ "$(setting encoders.features)" = online ]; then
    log "Training computes the features of the training set"
    stored=(valid "${test_sets[@]}")
  fi
  if [ "$(setting encoders.video_lora_rank)" -gt 0 ]; then
    log "Training changes the video encoder: the features of all sets are computed when they are needed"
    stored=()
  fi
  if [ "$cmd_backend" = local ] && [ "$(num_gpus)" = 0 ]; then
    sets_at_once=$(all_jobs) # the small sets; one job each, since starting takes longer than encoding
  fi
  for set in "${stored[@]}"; do
    options=(--audio_encoder "$audio_encoder" --video_encoder "$video_encoder")
    if [[ $set == *_* ]]; then # other sound, the mouths of test, whose features are made before
      while [ "$clean_made" = false ] && [ -n "$(jobs -p)" ]; do wait -n; done
      clean_made=true
      options+=(--video_from "$feats/${set%%_*}")
    fi
    options+=(--store_rate "$(setting encoders.store_rate)" "${skip_options[@]}")
    [ "$(setting encoders.pad_to_30s)" = False ] || options+=(--pad_to_30s)
    if [ "$set" = train ]; then
      read -ra noisy_snrs <<< "$(setting encoders.snrs)"
      options+=(--num_noisy_copies "$(setting encoders.num_noisy_copies)" --noise_data data/train)
      options+=(--noise "$(setting encoders.noise)" --noisy_snrs "${noisy_snrs[@]}")
      [ -z "$(setting encoders.noise_dir)" ] || options+=(--noise_dir "$(setting encoders.noise_dir)")
    fi
    extract=(python -m mome.bin.extract_features "data/$set" "dump/mouths/${set%%_*}" "$feats/$set" "${options[@]}")
    if [ "$set" = train ] || [ "$sets_at_once" = 1 ]; then
      run_jobs "dump/logs/feats_$set" "$(encoder_jobs_for "data/$set")" "$(gpu_options)" "${extract[@]}"
      continue
    fi
    if [ "$(jobs -rp | wc -l)" -ge "$sets_at_once" ]; then wait -n; fi
    "${extract[@]}" &
  done
  while [ -n "$(jobs -p)" ]; do wait -n; done # a set that failed ends the stage
}

train() {
  local sets=(--train_set "$feats/train" --valid_set "$feats/valid")
  if [ "$(setting encoders.video_lora_rank)" -gt 0 ]; then
    sets=(--train_set data/train --train_mouths dump/mouths/train)
    sets+=(--valid_set data/valid --valid_mouths dump/mouths/valid)
  elif [ "$(setting encoders.features)" = online ]; then
    sets=(--train_set data/train --train_mouths dump/mouths/train --valid_set "$feats/valid")
  fi
  with_mimalloc run_training --config "$train_config" --exp_dir "$exp" "${sets[@]}" --resume "${train_overrides[@]}"
}

decode_all() {
  local devices sets=("${test_sets[@]}") options=()
  local -x OMP_NUM_THREADS
  if [ "$decode_model" = average ]; then
    python -m mome.bin.average "$exp"
  fi
  if [ "${#checked_sets[@]}" -gt 0 ] && [ "$(setting model.task)" = asr ]; then
    log "The model uses audio alone: there is no video to take away"
  else
    sets+=("${checked_sets[@]}")
  fi
  devices=$(num_devices)
  OMP_NUM_THREADS=$(($(cores) > devices ? $(cores) / devices : 1))
  [ "${#scales[@]}" = 0 ] || options=(--scales "${scales[@]}")
  with_mimalloc run_jobs "dump/logs/decode_$tag" "$devices" "$(gpu_options)" python -m mome.bin.decode "$exp" \
    "${decode_overrides[@]}" --model "$decode_model" --feats "$feats" --data data \
    "${options[@]}" --sets "${sets[@]}"
}

score() {
  local token_model
  token_model=$(setting model.llm)/sentencepiece.model
  [ -f "$token_model" ] || token_model=
  python -m mome.bin.score "$exp" --data data ${token_model:+--token_model "$token_model"}
}

pack() {
  local options=()
  [ "$include_base" = false ] || options=(--include_base)
  python -m mome.bin.pack "$exp" "$exp/packed" --model "$decode_model" "${options[@]}"
}

upload() {
  python -m mome.bin.upload "$exp/packed" "$hub_repo"
}

run_stage() { # number, what it does, the function that does it
  if ! in_stage "$1"; then return; fi
  stage_start "$1" "$2"
  "$3"
  stage_end "$1"
}

main() {
  if [ -n "$tuning" ]; then
    tune
    return
  fi
  if [ "$dry_run" = true ]; then
    python -m mome.bin.config --config "$train_config" "${train_overrides[@]}"
    python -m mome.bin.count --config "$train_config" "${train_overrides[@]}"
    return
  fi
  if [ "$stage" -le 2 ]; then lock_shared; fi
  run_stage 0 "data directories and foundation models" make_data
  run_stage 1 "mouth crops and noisy test sets" make_media
  run_stage 2 "features of the frozen encoders" make_features
  exec 9>&-
  run_stage 3 "training" train
  run_stage 4 "decoding of every test set at every scale" decode_all
  run_stage 5 "scoring and report" score
  if in_stage 5; then
    log "All stages together took $(((SECONDS - recipe_started) / 60)) min"
    python -m mome.bin.report "$exp" --compare_with exp --results RESULTS.md
  fi
  run_stage 6 "a model folder to pass on" pack
  run_stage 7 "upload to the hub" upload
}

main
