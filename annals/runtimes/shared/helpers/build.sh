#!/usr/bin/env bash
# Builds a deployment: copies its source, runs its commands, and packs the result into one archive.
# Usage: build.sh "<commands>". Stops at the first failure and exits with the failing command's code.
set -euo pipefail
shopt -s nullglob dotglob

commands=${1:-}
server=$(cd -- "${BASH_SOURCE[0]%/*}/.." && pwd)
input=${ANNALS_BUILD_INPUT:-${OPEN_RUNTIMES_BUILD_INPUT_DIR:-/mnt/code}}
build=${ANNALS_BUILD_DIR:-/usr/local/build}
destination=${ANNALS_BUILD_OUTPUT:-${OPEN_RUNTIMES_BUILD_OUTPUT_DIR:-/mnt/code}}
cache=${ANNALS_BUILD_CACHE:-/usr/local/cache/build}
compression=${OPEN_RUNTIMES_BUILD_COMPRESSION:-gzip}
cleanup=none
unset ANNALS_BUILD_INPUT ANNALS_BUILD_DIR ANNALS_BUILD_OUTPUT ANNALS_BUILD_CACHE

say() { printf '\e[90m[%(%H:%M:%S)T]\e[0m \e[%sm%s\e[0m\n' -1 "$1" "$2"; }
progress() { say 97 "$1"; }
note() { say 90 "$1"; }

fail() {
  printf '\e[31m%s\e[0m\n' "$1"
  exit "${2:-1}"
}

hook() {
  local script=$server/hooks/$1.sh
  # shellcheck source=/dev/null
  if [[ -f $script ]]; then source "$script"; fi
}

is_empty() {
  local entries=("$1"/*)
  ((${#entries[@]} == 0))
}

# Lets package managers store their downloads in the cache folder, if the executor mounts one.
restore_cache() {
  if [[ ! -d $cache || ! -w $cache ]]; then
    if [[ ${OPEN_RUNTIMES_BUILD_CACHE:-} == disabled ]]; then note "Build cache is switched off."
    else note "Build cache is not available."; fi
    return
  fi
  if is_empty "$cache"; then note "Build cache miss."; else note "Build cache hit."; fi
  export npm_config_cache=$cache/npm YARN_CACHE_FOLDER=$cache/yarn
  if command -v pnpm >/dev/null; then export npm_config_store_dir=$cache/pnpm; fi # npm warns of it
  export BUN_INSTALL_CACHE_DIR=$cache/bun PIP_CACHE_DIR=$cache/pip UV_CACHE_DIR=$cache/uv
  export XDG_CACHE_HOME=$cache/xdg-cache XDG_STATE_HOME=$cache/xdg-state
}

# A failure of the cache is reported and does not fail the build.
save_cache() {
  [[ -d $cache && -w $cache ]] || return 0
  local limit=${OPEN_RUNTIMES_BUILD_CACHE_MAX_SIZE_BYTES:-} size=0
  if [[ $limit =~ ^[1-9][0-9]*$ ]]; then
    size=$(timeout "${OPEN_RUNTIMES_BUILD_CACHE_SAVE_TIMEOUT_SECONDS:-60}" du -sb -- "$cache" 2>/dev/null | cut -f1) || size=0
    if ((${size:-0} > limit)); then
      note "Build cache dropped: $size bytes are more than $limit."
      rm -rf -- "$cache"/* || true
      return
    fi
  fi
  : 2>/dev/null >"$cache/.saved" || note "Build cache could not be saved."
}

prepare() {
  [[ -d $input ]] && ! is_empty "$input" || fail "Error: No source code found."
  mkdir -p -- "$build"
  if [[ ! $input -ef $build ]]; then cp -a -- "$input"/. "$build"/; fi
  if [[ ! -w ${HOME:-/nonexistent} ]]; then
    HOME=$(mktemp -d)
    export HOME
  fi
  cd -- "$build"
  hook build-prepare
}

run_commands() {
  local status=0
  bash -c "$commands" </dev/null || status=$?
  ((status == 0)) || fail "Build command exited with code $status." "$status"
}

# Finds the folder with the result, which must be inside the build folder.
find_output() {
  local root
  root=$(realpath -e -- "$build")
  output=$(realpath -e -- "$build/${OPEN_RUNTIMES_OUTPUT_DIRECTORY:-.}" 2>/dev/null) || output=
  [[ $output == "$root" || $output == "$root"/* ]] && [[ -d $output ]] && ! is_empty "$output" ||
    fail "Error: No build output found."
}

# Prints a setting as a line that both shells and our servers can read.
setting() {
  local value=$2
  [[ $value =~ ^[A-Za-z0-9_./@%+=:,-]*$ ]] || value="'${value//\'/\'\\\'\'}'"
  printf '%s=%s\n' "$1" "$value"
}

choose_compression() {
  if [[ $compression == auto ]]; then
    compression=none
    if (($(du -sb -- "$output" | cut -f1) >= 5 * 1024 * 1024)); then compression=gzip; fi
  fi
  if [[ $compression == zstd ]] && ! command -v zstd >/dev/null ||
    [[ $compression == squashfs ]] && ! command -v mksquashfs >/dev/null; then
    note "No tool for $compression here: packing with gzip."
    compression=gzip
  fi
}

archive() {
  tar --create --directory "$output" --sort=name --owner=0 --group=0 --numeric-owner \
    --exclude=./code.tar.gz.part "$@" .
}

pack() {
  local file=$destination/code.tar.gz
  mkdir -p -- "$destination"
  case $compression in
    gzip) archive | gzip --no-name -4 >"$file.part" ;;
    none) archive --file "$file.part" ;;
    zstd) archive | zstd --quiet -3 -T0 >"$file.part" ;;
    squashfs)
      file=$destination/code.sqfs
      mksquashfs "$output" "$file.part" -comp lz4 -b 1M -noappend -quiet -no-progress >/dev/null
      ;;
    skip)
      if [[ ! $output -ef $destination ]]; then cp -a -- "$output"/. "$destination"/; fi
      : >"$destination/.extracted"
      return
      ;;
    *) fail "Error: Unknown build compression $compression." ;;
  esac
  mv -f -- "$file.part" "$file"
}

manifest() {
  local path=${OPEN_RUNTIMES_BUILD_MANIFEST:-} most=${OPEN_RUNTIMES_BUILD_MANIFEST_MAX_FILES:-10000}
  [[ -n $path ]] || return 0
  [[ $most =~ ^[1-9][0-9]*$ ]] || most=10000
  {
    printf '{"version":1,"files":['
    (cd -- "$output" && find . -name node_modules -prune -o -type f ! -name '*[[:cntrl:]]*' ! -name '*.tar' \
      ! -name '*.tar.gz' ! -name '*.tgz' ! -name '*.zip' ! -name '*.sqfs' -printf '%P\n') |
      LC_ALL=C sort | sed -n "1,${most}p" | sed 's/[\\"]/\\&/g; s/.*/"&"/' | paste -sd, -
    printf ']}\n'
  } >"$path" || note "The manifest could not be written."
}

progress "Environment preparation started."
restore_cache
prepare
progress "Environment preparation finished."

progress "Build command execution started."
if [[ -n ${commands//[[:space:]]/} ]]; then run_commands; fi
hook compile
progress "Build command execution finished."

progress "Build packaging started."
find_output
hook pack
choose_compression
{
  setting OPEN_RUNTIMES_ENTRYPOINT "${OPEN_RUNTIMES_ENTRYPOINT:-}"
  setting OPEN_RUNTIMES_CLEANUP "$cleanup"
  setting OPEN_RUNTIMES_COMPRESSION "$compression"
} >"$output/.open-runtimes"
pack
manifest
save_cache
progress "Build packaging finished."
say 32 "Build finished."
