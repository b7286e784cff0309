"""Proofs for third parties: signed checkpoints of the log, and what they prove of an event and of each other."""
