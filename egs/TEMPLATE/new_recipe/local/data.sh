# Stage 0 of @NAME@: data directories; the foundation models, fetched, converted or checked.
# shellcheck shell=bash disable=SC2154  # settings come from run.sh

. "$recipe_dir/utils/prepare_data.sh" folder "$root"
