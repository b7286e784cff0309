#!/usr/bin/env bash
# Runs what the executor asks for while a runtime is up, inside the runtime's own sandbox, one command at a time.
# Usage: sandbox_agent.sh <in> <out> [program]: both are numbers of open files; with a program, that runs beside and ends it all.
set -uo pipefail

in=$1 out=$2
shift 2

# A request is a marker, seconds and a command, each ended by a zero byte. What the command prints goes out between the
# marker on a line of its own, and the marker with its exit code.
run_commands() {
  local marker seconds command status
  while IFS= read -r -d '' -u "$in" marker && IFS= read -r -d '' -u "$in" seconds &&
    IFS= read -r -d '' -u "$in" command; do
    printf '%s\n' "$marker" >&"$out"
    status=0
    timeout -s KILL "$seconds" bash -c "$command" </dev/null >&"$out" 2>&1 {in}<&- {out}>&- || status=$?
    printf '%s %d\n' "$marker" "$status" >&"$out"
  done 2>/dev/null
}

if (($#)); then
  run_commands &
  exec "$@" {in}<&- {out}>&-
fi
run_commands
