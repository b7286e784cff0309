"""Bringing back what was: what differs between two moments, what an execution ran with, and reverts."""
