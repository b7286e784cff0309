"""Proofs of the log: its seal, signed checkpoints, and verification."""
