"""Fetching sources from git repositories: what, from where, within which bounds. The work runs in a process apart."""
