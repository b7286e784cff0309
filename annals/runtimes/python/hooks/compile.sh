# Sourced by build.sh: compile all modules ahead, so that no cold start does. The code is mounted read-only at run time,
# and its files get new times when they are unpacked: the compiled ones are therefore not checked against the source.
# Files that are only handed out stay as they are.
[[ ${ANNALS_STATIC:-} == 1 ]] || python3 -I -S -m compileall -qqf --invalidation-mode unchecked-hash . </dev/null >/dev/null 2>&1 || true
