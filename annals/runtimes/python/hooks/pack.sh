# Sourced by build.sh: make the environment independent of the place and the machine where it was built.
if [[ -d $build/runtime-env ]]; then
  python3 -I "$server/hooks/environment.py" seal "$build/runtime-env"
fi
