"""Output of user code: the log channel of function servers, its throttle, excerpts, and spools for long logs."""
