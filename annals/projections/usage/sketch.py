"""How long calls took, as a sketch: counts of logarithmic bins, from which any percentile is told within 2.5 %.

A sketch is written as one long decimal number with twelve digits for each bin, the lowest bin last. So two sketches
merge by adding them: in SQL, `sum(sketch)` merges as many as there are, and no order of merging changes the result.
"""

import math
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate, pairwise

ACCURACY = 0.025
"""Largest relative error of a percentile."""

LANE = 12
"""Decimal digits of a bin: a trillion calls."""

LAST = 300
"""The last bin takes everything above half an hour, twice as long as a call may take."""

GAMMA = 1.05
_LOG = math.log(GAMMA)
_FEW, _MANY = 10_000, 100_000_000
_ZERO = bytes(2)
_HEAD = struct.Struct(">Hh").unpack_from


def bin_of(milliseconds: int) -> int:
    """0 for less than a millisecond; bin n > 0 ends at `GAMMA ** (n - 1)` milliseconds, that value included."""
    if milliseconds < 1:
        return 0
    return min(1 + math.ceil(math.log(milliseconds) / _LOG - 1e-9), LAST)


def value_of(number: int) -> float:
    """The value in milliseconds that a bin stands for: as far from its one end as from the other, in proportion."""
    return 0.0 if number < 1 else 2 * GAMMA ** (number - 1) / (1 + GAMMA)


VALUES = [value_of(number) for number in range(LAST + 1)]
"""All that a percentile can be."""


def write(counts: Mapping[int, int]) -> str:
    """The decimal number of some bins' counts, none of them zero."""
    if not counts:
        return "0"
    falling = sorted(counts, reverse=True)
    pieces = [str(counts[falling[0]])]
    for higher, lower in pairwise(falling):
        pieces.append("0" * LANE * (higher - lower - 1) + str(counts[lower]).zfill(LANE))
    return "".join(pieces) + "0" * LANE * falling[-1]


def read(sent: bytes) -> tuple[int, Sequence[int]]:
    """The lowest bin of a sketch as `numeric_send` gives it, and the counts of the bins from there on.

    Its digits are of base 10,000, so three of them are a bin, and those of empty bins at the end are left out.
    """
    length, weight = _HEAD(sent)
    if not length:
        return 0, ()
    lowest = weight - length + 1
    digits = (0,) * (-(weight + 1) % 3) + struct.unpack_from(f">{length}H", sent, 8) + (0,) * (lowest % 3)
    counts: Sequence[int] = digits[2::3]
    if any(digits[1::3]) or any(digits[::3]):
        triples = zip(digits[::3], digits[1::3], counts, strict=True)
        counts = [high * 100_000_000 + middle * 10_000 + low for high, middle, low in triples]
    return lowest // 3, counts[::-1]


def percentiles(sent: bytes, shares: Sequence[float], calls: int | None = None) -> Sequence[float | None]:
    """For each share (0 to 1) the milliseconds below which that share of the calls lies, None without calls.

    `calls` is how many there are, or more: of few, not every digit of a bin is looked at.
    """
    lowest, falling = _falling(sent, calls)
    if not falling:
        return [None] * len(shares)
    running = list(accumulate(falling))
    total, highest = running[-1], lowest + len(running) - 1
    return [VALUES[highest - bisect_right(running, total - max(1, math.ceil(share * total)))] for share in shares]


def _falling(sent: bytes, calls: int | None) -> tuple[int, Sequence[int]]:
    """The lowest bin, and the counts from the highest bin down."""
    length, weight = _HEAD(sent)
    lowest = (weight - length + 1) // 3
    if not length or calls is None or calls >= _MANY:
        lowest, rising = read(sent)
        return lowest, rising[::-1]
    if calls < _FEW:  # the digits sent begin and end with the lowest one of a bin
        return lowest, _lowest(length // 3 + 1).unpack_from(sent, 8)
    whole = _ZERO * (weight % 3 == 0) + sent[8:] + _ZERO * ((weight - length + 1) % 3)
    digits = _two_lowest(len(whole) // 6 + 1).unpack(whole)
    if any(digits[::2]):
        return lowest, [middle * 10_000 + low for middle, low in zip(digits[::2], digits[1::2], strict=True)]
    return lowest, digits[1::2]


@cache
def _lowest(bins: int) -> struct.Struct:
    return struct.Struct(">H" + "4xH" * (bins - 1))


@cache
def _two_lowest(bins: int) -> struct.Struct:
    return struct.Struct(">HH" + "2xHH" * (bins - 1))
