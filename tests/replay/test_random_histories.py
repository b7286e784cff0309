"""After any random history a rebuild gives the served rows, and followers agree with it."""

import asyncio
import random
import tempfile

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from annals.application.event_log import inline
from annals.domain.function import Function
from annals.domain.retention import Retention
from annals.domain.team import Team
from annals.domain.user import User
from annals.projections.inline import CONSTRAINT_ERRORS
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.log.log import EventLog
from annals.store.postgres.database import Database
from tests.replay.histories import BEGINNING, PROJECTS, Actor, any_step, checked, to_the_end

STEPS = 220


@pytest.fixture(autouse=True)
def snapshot_of_every_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a snapshot at each version, so that a check compares each with a fold of its events."""
    for aggregate in (Function, Retention, Team, User):
        monkeypatch.setattr(aggregate, "SNAPSHOT_EVERY", 1)


async def differences(url: str, chance: random.Random) -> list[object]:
    database = await Database.open(url, size=4)
    with tempfile.TemporaryDirectory() as folder:
        contents = Contents(database, Blobs.open(folder))
        log = await EventLog.open(database, contents=contents, inline=inline, constraint_errors=CONSTRAINT_ERRORS)
        try:
            actor = Actor(log, f"p{next(PROJECTS)}")
            for step in [*BEGINNING, *(any_step(chance) for _ in range(STEPS))]:
                await actor.do(*step)
            await to_the_end(actor.followers)
            return [comparison for comparison in await checked(log, chance) if not comparison.same]
        finally:
            await log.close()
            await database.close()


@pytest.mark.timeout(1200)
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a smaller seed is no simpler history
)
@given(seed=st.integers(0, 2**32))
def test_rebuild_of_any_history_gives_the_rows_that_were_served(database_url: str, seed: int) -> None:
    assert asyncio.run(differences(database_url, random.Random(seed))) == []
