"""How the periods of a question are made of the cube's stretches of time, with as few of them as can be.

No day of Berlin is one of UTC, yet it is one but for two hours at either end. So days are read whole, each by the
period that has most of it, and hours beside the edges are moved from the period that got them with their day to the
one that they lie in; quarters of an hour likewise, where an edge is within an hour.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
GRAINS = (1440, 60, 15)


class Level(NamedTuple):
    """Cells of a grain by rounded `edges`. All of them; or, where a longer level put them by its own edges `former`,
    those that begin at the moments of `beside`."""

    grain: int
    edges: Sequence[datetime]
    former: Sequence[datetime] = ()
    beside: Sequence[datetime] = ()


def levels(edges: Sequence[datetime], grains: Sequence[int] = GRAINS) -> list[Level]:
    """The cheapest way to tell periods by their edges, of grains from long to short, which the shortest divides."""
    return min((_from(edges, grains[index:]) for index in range(len(grains))), key=_rows)


def _from(edges: Sequence[datetime], grains: Sequence[int]) -> list[Level]:
    whole = Level(grains[0], [nearest(edge, grains[0]) for edge in edges])
    found = [whole]
    for grain in grains[1:]:
        former = found[-1].edges
        if former == edges:
            break
        finer = [nearest(edge, grain) for edge in edges]
        found.append(Level(grain, finer, former, _beside(former, finer, grain)))
    return found


def nearest(moment: datetime, grain: int) -> datetime:
    """The beginning of a stretch of so many minutes that is nearest to a moment."""
    return begun(moment + timedelta(minutes=grain) / 2, grain)


def begun(moment: datetime, grain: int) -> datetime:
    """The beginning of the stretch of so many minutes that a moment lies in."""
    step = timedelta(minutes=grain)
    return EPOCH + (moment - EPOCH) // step * step


def _beside(former: Sequence[datetime], finer: Sequence[datetime], grain: int) -> list[datetime]:
    """The beginnings of what lies between two roundings of the same edges, each of them once."""
    step = timedelta(minutes=grain)
    found: set[datetime] = set()
    for one, other in zip(former, finer, strict=True):
        start = min(one, other)
        found.update(start + step * number for number in range((max(one, other) - start) // step))
    return sorted(found)


def _rows(found: Sequence[Level]) -> float:
    """How many stretches are read; those that are moved are looked up one by one, and count twice."""
    whole = found[0]
    read = (whole.edges[-1] - whole.edges[0]) / timedelta(minutes=whole.grain)
    return read + sum(2.5 * len(level.beside) for level in found[1:])
