"""The Open Runtimes executor API: lets other control planes create, call and remove runtimes on this host's driver."""
