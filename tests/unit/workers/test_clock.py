"""A duty does nothing while its kind of work is paused."""

import pytest

from annals.store.coordination.pauses import Hold, Holds
from annals.workers.clock import unless_held


class Held(Holds):
    def __init__(self, hold: Hold | None) -> None:
        self.hold = hold

    async def find(self, name: str) -> Hold | None:
        return self.hold if name == "schedules" else None


@pytest.mark.parametrize(("hold", "runs"), [(None, 1), (Hold("restored"), 0)])
async def test_paused_duty_waits(hold: Hold | None, runs: int) -> None:
    done: list[bool] = []

    async def run() -> None:
        done.append(True)

    await unless_held(Held(hold), "schedules", run)()

    assert len(done) == runs
