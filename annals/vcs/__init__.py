"""Fetch sources from git repositories, within bounds. A separate process does the work."""
