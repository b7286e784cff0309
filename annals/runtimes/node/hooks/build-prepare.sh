# Sourced by build.sh in the build folder: package managers report on the build, not on themselves.
export npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false
