"""Counts by name that stay as small as what is counted."""

from collections import Counter
from typing import TypeVar

K = TypeVar("K")


def decrement(counter: Counter[K], key: K) -> None:
    """One less; what is at none is forgotten."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
