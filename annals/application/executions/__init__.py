"""Executions: prepared, run, and their outcome recorded."""
