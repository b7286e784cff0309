#!/usr/bin/env bash
# Unpacks a built deployment from /mnt/code and serves it. Usage: start.sh "<start command>"
set -euo pipefail
export LC_ALL=${LC_ALL:-C.UTF-8}

command=${1:-bash helpers/server.sh}
server=$(cd -- "${BASH_SOURCE[0]%/*}/.." && pwd)
code=${ANNALS_CODE:-$server/src/function}
source=${ANNALS_BUILD_OUTPUT:-/mnt/code}
telemetry=${ANNALS_TELEMETRY:-/mnt/telemetry}
unset ANNALS_BUILD_OUTPUT

# record <name> <began>: appends the seconds since <began> to the timings that the server returns.
record() {
  local now=${EPOCHREALTIME/[.,]/} began=${2/[.,]/}
  local spent=$((now - began))
  printf '%s=%d.%06d\n' "$1" $((spent / 1000000)) $((spent % 1000000)) 2>/dev/null >>"$telemetry/timings.txt" || true
}

# The first bytes decide the format, not the name.
extract() {
  case $(head -c 4 -- "$1" | od -An -tx1 | tr -d ' \n') in
    68737173) unsquashfs -quiet -no-progress -force -dest "$code" "$1" ;;
    1f8b*) tar --extract --gzip --no-same-owner --file "$1" --directory "$code" ;;
    28b52ffd) zstd --quiet --decompress --stdout -- "$1" | tar --extract --no-same-owner --file - --directory "$code" ;;
    *) tar --extract --no-same-owner --file "$1" --directory "$code" ;;
  esac
}

began=$EPOCHREALTIME
mkdir -p -- "$telemetry" "$code" 2>/dev/null || true
phase=$EPOCHREALTIME
if [[ -e $source/.extracted ]]; then
  for entry in "$source"/* "$source"/.[!.]*; do
    if [[ -e $entry || -L $entry ]]; then ln -sfn -- "$entry" "$code/${entry##*/}"; fi
  done
  record symlink "$phase"
else
  for archive in "$source"/code.{sqfs,tar,tar.gz,gz}; do
    if [[ -f $archive ]]; then
      extract "$archive"
      record extract "$phase"
      break
    fi
  done
fi

phase=$EPOCHREALTIME
if [[ -f $code/.open-runtimes ]]; then
  set -a
  # shellcheck source=/dev/null
  source "$code/.open-runtimes"
  set +a
fi
# shellcheck source=/dev/null
if [[ -f $server/hooks/start-prepare.sh ]]; then source "$server/hooks/start-prepare.sh"; fi
record prepare "$phase"
record startup "$began"

cd -- "$server"
exec bash -c "$command"
