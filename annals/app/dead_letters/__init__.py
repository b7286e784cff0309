"""Executions that were given up: listed, redriven, or discarded."""
