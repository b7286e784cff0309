"""How far a start is: one line for each part of the instance that got ready, for the terminal and for systemd."""

import asyncio
import time
from collections.abc import Callable

from annals.supervisor.notify import notify


class StartProgress:
    """Counts parts as they get ready; `say` writes a line of the log."""

    def __init__(self, say: Callable[[str], None], parts: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._parts, self._clock = say, parts, clock
        self._ready, self._began = 0, clock()
        self.tell(f"starting {parts} processes")

    def watch(self, name: str, ready: "asyncio.Future[None]") -> None:
        """Tell when this part is ready; a part that fails is told by the start itself."""
        ready.add_done_callback(lambda done: self._count(name, done))

    def tell(self, sentence: str) -> None:
        self._say(sentence)
        notify(STATUS=sentence)

    def _count(self, name: str, done: "asyncio.Future[None]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        self._ready += 1
        self.tell(f"{name} is ready ({self._ready} of {self._parts}, after {self._clock() - self._began:.1f} s)")
