# Stage 0 of LRS2: data directories; the foundation models, converted or checked.
# shellcheck shell=bash disable=SC2154  # settings come from run.sh

. "$recipe_dir/utils/prepare_data.sh" lrs2 "$lrs2"
