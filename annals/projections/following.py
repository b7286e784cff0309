"""The read models that follow the log. The keeper runs a follower for each, and `replay` rebuilds them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from annals.projections import audit, row_versions, schedules
from annals.projections.usage import follower
from annals.store.log.follower import Handle


class Following(NamedTuple):
    """A follower's handler `handle`, the events it `wants` (None: all), and the `tables` that it writes.

    It may lag by `gather_seconds`, so that batches are larger and cheaper. `refilling` returns a rebuild's handler.
    """

    handle: Handle
    tables: tuple[str, ...]
    wants: Callable[[Any], bool] | None = None
    gather_seconds: float = 0.1
    refilling: Callable[[], Handle] | None = None


FOLLOWING: Mapping[str, Following] = {
    "usage": Following(  # readers add the events after its checkpoint
        follower.follow, follower.TABLES, gather_seconds=0.3, refilling=follower.refilling
    ),
    "schedules": Following(schedules.follow, schedules.TABLES, schedules.wants),
    "audit": Following(audit.follow, audit.TABLES),
    row_versions.FOLLOWER: Following(row_versions.follow, row_versions.TABLES),
}
"""By the follower's name, which is also the name of its checkpoint."""
