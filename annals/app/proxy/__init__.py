"""Rules: which host names run which functions."""
