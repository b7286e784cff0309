"""Executions that were given up: listed, asked for once more, or discarded."""
