"""Durations of calls as a sketch: counts of logarithmic bins, which give any percentile within 2.5 %.

A sketch is one long decimal number with twelve digits for each bin, the lowest bin last. So sketches merge by
addition: in SQL, `sum(sketch)` merges any number of them, and their order makes no difference.
"""

import math
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate, pairwise

ACCURACY = 0.025
"""Largest relative error of a percentile."""

DIGITS = 12
"""Decimal digits of a bin: a trillion calls."""

LAST = 300
"""The last bin counts everything above half an hour, twice the longest time of a call."""

GAMMA = 1.05
_LOG = math.log(GAMMA)
_FEW, _MANY = 10_000, 100_000_000
_ZERO = bytes(2)
_HEAD = struct.Struct(">Hh").unpack_from


def bin_of(milliseconds: int) -> int:
    """Return the bin of a duration: 0 below a millisecond; bin n > 0 ends with `GAMMA ** (n - 1)` milliseconds."""
    if milliseconds < 1:
        return 0
    return min(1 + math.ceil(math.log(milliseconds) / _LOG - 1e-9), LAST)


def value_of(number: int) -> float:
    """Return the duration that a bin stands for: the value with the same relative error at both of its ends."""
    return 0.0 if number < 1 else 2 * GAMMA ** (number - 1) / (1 + GAMMA)


VALUES = [value_of(number) for number in range(LAST + 1)]
"""All possible values of a percentile."""


def write(counts: Mapping[int, int]) -> str:
    """Return the decimal number of bins' counts, none of them zero."""
    if not counts:
        return "0"
    falling = sorted(counts, reverse=True)
    pieces = [str(counts[falling[0]])]
    for higher, lower in pairwise(falling):
        pieces.append("0" * DIGITS * (higher - lower - 1) + str(counts[lower]).zfill(DIGITS))
    return "".join(pieces) + "0" * DIGITS * falling[-1]


def read(sent: bytes) -> tuple[int, Sequence[int]]:
    """Return the lowest bin of a sketch in the format of `numeric_send`, and the counts from that bin on.

    Its digits have base 10,000: three digits are a bin. Digits of empty bins at the end are missing.
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
    """Return for each share (0 to 1) the milliseconds within which that share of the calls ended; None without calls.

    `calls` is their number or more: for few calls only some digits of a bin are read.
    """
    lowest, falling = _falling(sent, calls)
    if not falling:
        return [None] * len(shares)
    running = list(accumulate(falling))
    total, highest = running[-1], lowest + len(running) - 1
    return [VALUES[highest - bisect_right(running, total - max(1, math.ceil(share * total)))] for share in shares]


def _falling(sent: bytes, calls: int | None) -> tuple[int, Sequence[int]]:
    """Return the lowest bin, and the counts from the highest bin down."""
    length, weight = _HEAD(sent)
    lowest = (weight - length + 1) // 3
    if not length or calls is None or calls >= _MANY:
        lowest, rising = read(sent)
        return lowest, rising[::-1]
    if calls < _FEW:  # the first and the last digit sent are the lowest digits of a bin
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
