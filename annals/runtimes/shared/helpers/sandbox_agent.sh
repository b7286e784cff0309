#!/usr/bin/env bash
# The sandbox agent: runs commands of the executor inside a runtime's sandbox, one at a time.
# Usage: sandbox_agent.sh <in> <out> [program]. <in> and <out> are open descriptors; the agent ends with the program.
set -uo pipefail

in=$1 out=$2
shift 2

# A request is a marker, seconds and a command, each ended by a zero byte. The agent prints the marker on its own line,
# the command's output, and the marker with the exit code.
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
