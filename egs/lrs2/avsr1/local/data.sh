# Stage 0 of LRS2: data directories; the foundation models, converted or checked.
# shellcheck shell=bash disable=SC2154,SC2086  # settings come from run.sh; lists

[ -n "$lrs2" ] || die "--lrs2 is not set: give the folder of LRS2, in which mvlrs_v1/ and the lists lie"
missing=
if [ "$allow_missing" = true ]; then missing=--allow_missing; fi
python -m mome.bin.prepare_data lrs2 "$lrs2" data --media_paths absolute \
  --num_jobs "$nj" $missing
. "$recipe_dir/utils/models.sh"
