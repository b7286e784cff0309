# Sourced by build.sh: drop from node_modules what no program reads at run time.
if [[ ${OPEN_RUNTIMES_MODCLEAN:-} != disabled && -d $output/node_modules ]]; then
  if [[ ${OPEN_RUNTIMES_NFT:-} == enabled ]]; then
    note "Tracing of files is not available here: cleaning node_modules instead."
  fi
  if node "$server/hooks/modclean.cjs" "$output/node_modules"; then cleanup=modclean; fi
fi
