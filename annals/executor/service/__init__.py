"""The executor as a process: composes its parts, starts and stops them, and checks the host for `annals doctor`."""
