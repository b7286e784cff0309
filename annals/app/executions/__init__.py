"""Executions: calls of functions."""
