"""How a random history ends: with followers that have seen all of it, and a rebuild to compare with."""

import random
from collections.abc import Sequence

import pytest

from annals.projections.inline import TABLES
from annals.projections.replay import executions_fold, refill
from annals.projections.replay.replay import check
from annals.projections.replay.staging_tables import Comparison
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog


async def to_the_end(followers: Sequence[Follower]) -> None:
    """In larger batches than meanwhile: how events are cut into batches makes no difference."""
    for follower in followers:
        follower.batch = 100
        while await follower.catch_up():
            pass


async def checked(log: EventLog, chance: random.Random) -> list[Comparison]:
    """What a check finds, and what one of the inline tables does in small batches between which few executions wait."""
    found = await check(log.database, log.reader, report=lambda _: None)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(refill, "BATCH", chance.randrange(5, 40))
        small.setattr(executions_fold, "MOST_OPEN", chance.randrange(4))
        return [*found, *await check(log.database, log.reader, TABLES, report=lambda _: None)]
