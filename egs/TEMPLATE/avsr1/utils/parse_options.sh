# Source this after the defaults: `--name value` then sets `name`; `--help` lists the settings.
# A setting is a line `name=value` of run.sh or utils/settings.sh; dashes in an option mean
# underscores. A setting that is `false` is a switch: its name alone makes it `true`.
# shellcheck shell=bash disable=SC2154  # settings come from utils/settings.sh

die() { # message; for a wrong setting
  echo "$0: $*" >&2
  exit 2
}

allow() { # name of a setting, pattern of the values that it may have, the same in words
  [[ ${!1} =~ ^($2)$ ]] || die "--$1 '${!1}': give $3"
}

need() { # name of a setting that stage 0 needs, -d (folder) or -f (file), what it is
  local path=${!1}
  if [ "$stage" != 0 ] || [ "$dry_run" = true ]; then return; fi
  [ -n "$path" ] || die "--$1 is not set: give $3"
  [[ $path == /* ]] || path=$work_dir/$path
  test "$2" "$path" || die "--$1 '${!1}' does not exist: give $3"
}

_settings() { sed -n '/^[a-z][a-z0-9_]*=/p' utils/settings.sh run.sh; }

_help() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' run.sh
  printf '\nUsage: %s [--stage N] [--stop-stage M] [--any_setting value]\n\nSettings:\n' "$0"
  # A line of run.sh replaces the one of utils/settings.sh.
  _settings | awk -F= '{ if (!($1 in line)) order[n++] = $1; if (!($1 in line) || /#/) text[$1] = $0
                         line[$1] = $0; value[$1] = $0; sub(/^[^=]*=/, "", value[$1])
                         sub(/ *#.*/, "", value[$1]) }
    END { for (i = 0; i < n; i++) { name = order[i]; what = text[name]; sub(/^[^#]*#? */, "", what)
            printf "  --%-16s %-34s %s\n", name, value[name], what } }'
}

# shellcheck disable=SC2034  # used by avsr.sh
given_options=("$@")
_changed=()          # names of the settings that were given, in their order
declare -A _default  # their values before
_note() { if [ -z "${_default[$1]+set}" ]; then _default[$1]=${!1} _changed+=("$1"); fi; }

while [ $# -gt 0 ]; do
  if [ "$1" = --help ] || [ "$1" = -h ]; then _help; exit 0; fi
  _name=${1#--}
  _name=${_name//-/_}
  if [[ $1 != --?* ]]; then
    die "'$1' is not an option: settings are given as --name value; see $0 --help"
  fi
  if ! _settings | grep -q "^$_name="; then
    _near=$(_settings | cut -d= -f1 | python3 -c 'import difflib, sys
print("".join(difflib.get_close_matches(sys.argv[1], sys.stdin.read().split(), 1)))' "$_name")
    die "no setting called '$1'${_near:+; did you mean --$_near?} (see $0 --help)"
  fi
  if [ "${!_name}" = false ] && { [ $# -lt 2 ] || [[ $2 == --?* ]]; }; then # a switch
    _note "$_name"
    printf -v "$_name" true
    shift
    continue
  fi
  if [ $# -lt 2 ] || [[ $2 == --?* && $2 != *" "* ]]; then # a value may hold options: "--a 1 --b"
    die "$1 needs a value"
  fi
  _note "$_name"
  printf -v "$_name" '%s' "$2"
  shift 2
done

# The command as reports show it: the settings that differ from the defaults, each once.
command_line=./run.sh
for _name in "${_changed[@]}"; do
  _value=${!_name}
  if [ "$_value" = "${_default[$_name]}" ]; then continue; fi
  [[ $_value =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || _value=${_value@Q}
  command_line+=" --$_name $_value"
done
