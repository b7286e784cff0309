-- From here on states of executions may be stored compressed, which no program of before can read: the log looks for this
-- file in the ledger before it writes one (docs/adr/0023-states-of-executions-are-stored-compressed.md).
COMMENT ON COLUMN events.state IS 'plain JSON, or of execution.* one byte that names a dictionary and a zstd frame without its magic number';
