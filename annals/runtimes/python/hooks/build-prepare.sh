# Sourced by build.sh in the build folder: `pip install` lands in an environment that becomes part of the artefact.
if [[ -n ${commands//[[:space:]]/} && ${ANNALS_STATIC:-} != 1 ]]; then
  python3 -I "$server/hooks/environment.py" make "$PWD/runtime-env"
  export VIRTUAL_ENV=$PWD/runtime-env
  export PATH=$VIRTUAL_ENV/bin:$PATH
  export PIP_NO_COMPILE=1 # the compile hook does it once, in a way that outlives copies
  export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
  unset PYTHONHOME
fi
