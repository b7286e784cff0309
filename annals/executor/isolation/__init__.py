"""Confinement of user code: limits by control groups and watchdogs, system calls, networks, folders, processes."""
