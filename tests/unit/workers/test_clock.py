"""A duty does nothing while its kind of work is paused."""

import pytest

from annals.store.coordination.pauses import Pauses
from annals.workers.clock import unless_held


class Held(Pauses):
    def __init__(self, hold: str | None) -> None:
        self.hold = hold

    async def find(self, name: str) -> str | None:
        return self.hold if name == "schedules" else None


@pytest.mark.parametrize(("hold", "runs"), [(None, 1), ("restored", 0)])
async def test_paused_duty_waits(hold: str | None, runs: int) -> None:
    done: list[bool] = []

    async def run() -> None:
        done.append(True)

    await unless_held(Held(hold), "schedules", run)()

    assert len(done) == runs
