"""The Merkle tree over the log: its hashes, and its tiles in Postgres."""
