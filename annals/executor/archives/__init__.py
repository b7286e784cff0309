"""Readers of archives that trust nothing in them."""
