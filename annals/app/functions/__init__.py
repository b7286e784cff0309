"""Functions: what a client configures."""
