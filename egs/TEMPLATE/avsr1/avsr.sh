# The stages of every recipe, in one place. A recipe's run.sh makes the settings and sources this.
# What each stage reads and writes: egs/README.md.
# shellcheck shell=bash disable=SC2154  # settings come from run.sh and utils/settings.sh

log() { echo "$(date '+%Y-%m-%dT%H:%M:%S') (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}:${FUNCNAME[1]}) $*"; }

die() {
  echo "$0: $*" >&2
  exit 2
}

recipe_dir=$PWD
recipe_started=$SECONDS
commit=$(git rev-parse --short HEAD 2>/dev/null || true)
[ -n "$train_config" ] || die "no --train-config was given; there are: $(echo conf/train_*.yaml)"
[ -f "$train_config" ] || die "no configuration $train_config; there are: $(echo conf/train_*.yaml)"
[[ $stage =~ ^[0-9]+$ && $stop_stage =~ ^[0-9]+$ ]] || die "--stage and --stop-stage are numbers, 0 to 5"
train_config=$(readlink -f "$train_config")
if [ -n "$tuning" ]; then
  [ -f "$tuning" ] || die "no list $tuning; there are: $(echo conf/tuning/*.txt)"
  tuning=$(readlink -f "$tuning")
fi
if [ -n "$hostfile" ]; then
  [ -f "$hostfile" ] || die "no hostfile $hostfile: a file with a line for each machine, such as 'node1 slots=8'"
  hostfile=$(readlink -f "$hostfile")
fi

. ./path.sh
. ./cmd.sh

if [ "$work_dir" != . ]; then # the recipe's own folders elsewhere
  mkdir -p "$work_dir"
  cd "$work_dir" || exit
  ln -sfn "$recipe_dir/conf" conf
fi
[ -n "$tag" ] || tag=$(basename "$train_config" .yaml)
exp=exp/$tag
feats=dump/feats
test_sets="test"
for noise in $test_noise; do
  for snr in $test_snrs; do
    [[ $snr =~ ^-?[0-9]+(\.[0-9]+)?$ ]] || die "--test_snrs are numbers of dB, such as \"5 0 -2.5\", not '$snr'"
    test_sets+=" test_${noise}_$(printf '%g' "$snr")" # 5.0 is 5, as mome.bin.add_noise has it
  done
done
for set in $video_checks; do
  [[ " $test_sets " == *" $set "* ]] || die "--video_checks names $set, but the test sets are: $test_sets"
done
num_gpus() { nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true; }
if [ "$ngpu" = auto ] && [ "$cmd_backend" = local ] && [ -z "$hostfile" ]; then
  ngpu=$(num_gpus)
fi
if [ "$ngpu" = 0 ]; then
  export DS_ACCELERATOR=cpu # DeepSpeed would look for a GPU, and say so
fi
# The value of a key of the train config, overrides included.
# shellcheck disable=SC2086  # train_args is a list
setting() { python -m mome.bin.config "$train_config" $train_args --get "$1"; }

cores() { env -u OMP_NUM_THREADS nproc; } # nproc alone would answer OMP_NUM_THREADS

in_stage() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }

stage_start() { # number, what it does
  log "Stage $1: $2"
  stage_started=$SECONDS
}

stage_end() { # number; its time, the command and the commit go to a table, for the report
  local spent=$((SECONDS - stage_started))
  log "Stage $1 took $((spent / 60)) min $((spent % 60)) s"
  mkdir -p "$exp"
  printf '%s\t%s\t%s\t%s\n' "$1" "$spent" "$command_line" "$commit" >> "$exp/stages.tsv"
}

# Each line of a tuning list is an experiment: a name, then changes to the train config.
tune() {
  local list=$1 base=$tag name changes number=0
  if [ "$stage" -lt 3 ] && [ "$dry_run" = false ]; then
    "$recipe_dir/run.sh" "${given_options[@]}" --tuning "" --stop_stage "$((stop_stage < 2 ? stop_stage : 2))"
    stage=3
  fi
  while read -r name changes <&3; do
    if [[ -z $name || $name == \#* ]]; then continue; fi
    number=$((number + 1))
    log "Experiment $number of $list: $name, with $changes"
    "$recipe_dir/run.sh" "${given_options[@]}" --tuning "" --stage "$stage" \
      --tag "${base}_$name" --train_args "$train_args $changes"
  done 3< "$list"
  [ "$number" -gt 0 ] || die "$list holds no experiment"
}

main() {
  if [ -n "$tuning" ]; then
    tune "$tuning"
    return
  fi
  if [ "$dry_run" = true ]; then
    # shellcheck disable=SC2086  # train_args is a list
    python -m mome.bin.config "$train_config" $train_args
    # shellcheck disable=SC2086
    python -m mome.bin.count --config "$train_config" $train_args
    return
  fi
  if [ "$cmd_backend" = slurm ] && [ "$ngpu" = auto ] && { in_stage 2 || in_stage 3 || in_stage 4; }; then
    die "--cmd_backend slurm encodes, trains and decodes on other machines: give --ngpu, the GPUs of each (0: its CPU)"
  fi

  if in_stage 0; then
    stage_start 0 "data directories and foundation models"
    (. "$recipe_dir/local/data.sh") # in a shell of its own: bash 5.2 complains when one fails here
    stage_end 0
  fi

  if in_stage 1; then
    stage_start 1 "mouth crops and noisy test sets"
    for set in train valid test; do
      run_jobs "dump/logs/mouths_$set" "$nj" slurm.conf python -m mome.bin.crop_mouths "data/$set" \
        "dump/mouths/$set" --landmarks "$landmarks"
    done
    if [ "$test_sets" != test ]; then
      # shellcheck disable=SC2086  # lists
      python -m mome.bin.add_noise data/test data/test --noise $test_noise --snrs $test_snrs \
        --noise_data data/train --noisy_dir dump/noisy ${noise_dir:+--noise_dir "$noise_dir"}
    fi
    stage_end 1
  fi

  if in_stage 2; then
    stage_start 2 "features of the frozen encoders"
    audio_encoder=$(setting encoders.audio)
    video_encoder=$(setting encoders.video)
    padded=
    if [ "$(setting encoders.pad_to_30s)" = True ]; then padded=--pad_to_30s; fi
    if [ -f "$recipe_dir/local/video_encoder.sh" ]; then # a corpus without a pretrained one
      # shellcheck source=/dev/null
      (. "$recipe_dir/local/video_encoder.sh")
    fi
    store_rate=$(setting encoders.store_rate)
    stored="train valid $test_sets"
    if [ "$(setting encoders.features)" = online ]; then
      log "Features of the training set are made while it trains"
      stored="valid $test_sets"
    fi
    if [ "$(setting encoders.video_lora_rank)" -gt 0 ]; then
      log "The video encoder is trained along, and encodes the other sets when they are needed"
      stored=
    fi
    for set in $stored; do
      noisy=
      if [ "$set" = train ]; then
        noisy="--num_noisy_copies $(setting encoders.num_noisy_copies) --noise_data data/train"
        noisy+=" --noise $(setting encoders.noise) --noisy_snrs $(setting encoders.snrs)"
        noise_files=$(setting encoders.noise_dir)
        noisy+=${noise_files:+" --noise_dir $noise_files"}
      fi
      # shellcheck disable=SC2086  # noisy is a list
      run_jobs "dump/logs/feats_$set" "$nj" "$(gpu_options)" python -m mome.bin.extract_features \
        "data/$set" "dump/mouths/${set%%_*}" "$feats/$set" --audio_encoder "$audio_encoder" \
        --video_encoder "$video_encoder" --store_rate "$store_rate" $padded $noisy
    done
    stage_end 2
  fi

  if in_stage 3; then
    stage_start 3 "training"
    sets="--train_set $feats/train --valid_set $feats/valid"
    if [ "$(setting encoders.video_lora_rank)" -gt 0 ]; then
      sets="--train_set data/train --train_mouths dump/mouths/train"
      sets+=" --valid_set data/valid --valid_mouths dump/mouths/valid"
    elif [ "$(setting encoders.features)" = online ]; then
      sets="--train_set data/train --train_mouths dump/mouths/train --valid_set $feats/valid"
    fi
    # shellcheck disable=SC2086  # train_args and sets are lists
    run_training --config "$train_config" --exp_dir "$exp" $sets --resume $train_args
    stage_end 3
  fi

  if in_stage 4; then
    stage_start 4 "decoding of every test set at every scale"
    if [ "$decode_model" = average ]; then
      python -m mome.bin.average "$exp"
    fi
    # shellcheck disable=SC2086  # lists
    decode own $test_sets
    if [ -n "$video_checks" ] && [ "$(setting model.task)" = asr ]; then
      log "A model of audio alone: nothing to decode without its video"
      video_checks=
    fi
    for video in ${video_checks:+zeroed other}; do
      # shellcheck disable=SC2086
      decode "$video" $video_checks
    done
    stage_end 4
  fi

  if in_stage 5; then
    stage_start 5 "scoring and report"
    token_model=$(setting model.llm)/sentencepiece.model
    [ -f "$token_model" ] || token_model=
    python -m mome.bin.score "$exp" --data data ${token_model:+--token_model "$token_model"}
    stage_end 5
    log "All stages asked for took $(((SECONDS - recipe_started) / 60)) min"
    python -m mome.bin.report "$exp" --beside exp --results RESULTS.md
  fi
}

# shellcheck disable=SC2086,SC2046  # lists
decode() { # what the model sees, test sets
  local video=$1 devices
  local -x OMP_NUM_THREADS
  shift
  devices=$(num_devices)
  OMP_NUM_THREADS=$(($(cores) > devices ? $(cores) / devices : 1))
  run_jobs "dump/logs/decode_$tag/$video" "$devices" "$(gpu_options)" python -m mome.bin.decode "$exp" \
    $decode_args --model "$decode_model" --feats "$feats" --data data \
    ${decode_scales:+--scales $decode_scales} --sets "$@" --video "$video"
}

main
