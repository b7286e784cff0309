"""Signing up and in: the account of who calls."""
