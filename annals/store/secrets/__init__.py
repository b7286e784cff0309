"""Sealed values, data keys, master keys and signed tokens."""
