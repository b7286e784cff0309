"""From how many calls in hand on an API process says that accepting them is hard work."""

import mmap
from contextlib import ExitStack

from annals.app.executions.accepting import SEVERAL, Accepting
from annals.store.pressure import Pressure


def test_a_few_calls_press_nobody_and_several_at_once_do() -> None:
    pressure = Pressure(mmap.mmap(-1, 8), clock=lambda: 1.0)
    accepting = Accepting(pressure)
    for _ in range(10 * SEVERAL):
        with accepting.one():
            pass

    with ExitStack() as calls:
        for _ in range(SEVERAL - 1):
            calls.enter_context(accepting.one())
        assert not pressure.pressed

        calls.enter_context(accepting.one())
        assert pressure.pressed
