# Stage 0 of LRS3: data directories; the foundation models, converted or checked.
# shellcheck shell=bash disable=SC2154,SC2086  # settings come from run.sh; lists

[ -n "$lrs3" ] || die "--lrs3 is not set: give the folder of LRS3, in which pretrain/, trainval/ and test/ lie"
missing=
if [ "$allow_missing" = true ]; then missing=--allow_missing; fi
python -m mome.bin.prepare_data lrs3 "$lrs3" data --media_paths absolute --hours "$hours" \
  --num_jobs "$nj" $missing
. "$recipe_dir/utils/models.sh"
