"""The end of a random history: followers catch up, and a rebuild is compared with the live rows."""

import random
from collections.abc import Sequence

import pytest

from annals.projections import executions_fold
from annals.projections.inline import TABLES
from annals.projections.replay import refill
from annals.projections.replay.replay import check
from annals.projections.replay.staging_tables import Comparison
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog


async def to_the_end(followers: Sequence[Follower]) -> None:
    """Let followers catch up in larger batches than before: the batch size makes no difference."""
    for follower in followers:
        follower.batch = 100
        while await follower.catch_up():
            pass


async def checked(log: EventLog, chance: random.Random) -> list[Comparison]:
    """Return the comparisons of a check, and of a check in small batches with a small buffer of executions."""
    found = await check(log.database, log.reader, report=lambda _: None)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(refill, "BATCH", chance.randrange(5, 40))
        small.setattr(executions_fold, "MAX_BUFFERED", chance.randrange(4))
        return [*found, *await check(log.database, log.reader, TABLES, report=lambda _: None)]
