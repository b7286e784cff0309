# Sourced by start.sh: the server puts the environment's packages on its path by itself; programs are found here.
if [[ -d $code/runtime-env/bin ]]; then
  export VIRTUAL_ENV=$code/runtime-env
  export PATH=$VIRTUAL_ENV/bin:$PATH
fi
