"""The event log: append, read, follow, snapshot, archive."""
