"""How long calls took, as a sketch: counts of logarithmic bins, from which any percentile is told within 2.5 %.

A sketch is written as one long decimal number with twelve digits for each bin, the lowest bin last. So two sketches
merge by adding them: in SQL, `sum(sketch)` merges as many as there are, and no order of merging changes the result.
"""

import math
import struct
from bisect import bisect_left
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
_FEW = 10_000
_HEAD = struct.Struct(">Hh").unpack_from


def bin_of(milliseconds: int) -> int:
    """0 for less than a millisecond; bin n > 0 ends at `GAMMA ** (n - 1)` milliseconds, that value included."""
    if milliseconds < 1:
        return 0
    return min(1 + math.ceil(math.log(milliseconds) / _LOG - 1e-9), LAST)


def value_of(number: int) -> float:
    """The value in milliseconds that a bin stands for: as far from its one end as from the other, in proportion."""
    return 0.0 if number < 1 else 2 * GAMMA ** (number - 1) / (1 + GAMMA)


_VALUES = [value_of(number) for number in range(LAST + 1)]


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

    `calls` is how many there are, or more: where they are few, only every third digit is anything.
    """
    rising: Sequence[int]
    if calls is not None and calls < _FEW:
        length, weight = _HEAD(sent)
        rising = _thirds(length // 3 + 1).unpack_from(sent, 8)[::-1] if length else ()
        lowest = (weight - length + 1) // 3
    else:
        lowest, rising = read(sent)
    if not rising:
        return [None] * len(shares)
    running = list(accumulate(rising))
    total = running[-1]
    return [_VALUES[lowest + bisect_left(running, max(1, math.ceil(share * total)))] for share in shares]


@cache
def _thirds(count: int) -> struct.Struct:
    return struct.Struct(">H" + "4xH" * (count - 1))
