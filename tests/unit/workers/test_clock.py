"""A duty does nothing while its kind of work is paused."""

import pytest

from annals.store.coordination.pauses import Pause, Pauses
from annals.workers.clock import unless_held


class Held(Pauses):
    def __init__(self, hold: Pause | None) -> None:
        self.hold = hold

    async def find(self, name: str) -> Pause | None:
        return self.hold if name == "schedules" else None


@pytest.mark.parametrize(("hold", "runs"), [(None, 1), (Pause("restored"), 0)])
async def test_paused_duty_waits(hold: Pause | None, runs: int) -> None:
    done: list[bool] = []

    async def run() -> None:
        done.append(True)

    await unless_held(Held(hold), "schedules", run)()

    assert len(done) == runs
