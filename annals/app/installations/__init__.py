"""Installations: hosts of repositories that a project's functions may be connected to."""
