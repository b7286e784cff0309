"""Callers: credentials, scopes, keys and passwords."""
