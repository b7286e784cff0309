"""Rebuilds of read models from the log, beside the live ones."""
