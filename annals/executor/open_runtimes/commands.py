"""Commands in runtimes: an excerpt of their output, or how they failed."""

from collections.abc import Awaitable, Callable

from annals.executor.drivers.port import Exit, Sink
from annals.executor.errors import StartFailed
from annals.executor.logs.excerpt import Excerpt
from annals.executor.open_runtimes.errors import ApiError

Runs = Callable[[str, float, Sink], Awaitable[Exit]]


class Command:
    """One command and an excerpt of what it has printed so far."""

    def __init__(self, command: str, seconds: float) -> None:
        self._command, self._seconds = command, seconds
        self._excerpt = Excerpt()
        self._printed: list[str] = []

    async def run(self, runs: Runs) -> str:
        """Its output, once it has ended well. Raises ApiError."""
        try:
            end = await runs(self._command, self._seconds, self._hear)
        except TimeoutError:
            raise ApiError("command_timeout") from None
        except StartFailed as failure:
            raise ApiError("runtime_failed", str(failure)) from failure
        if end.code != 0:
            raise ApiError("command_failed")
        return "".join(self._printed) + self._excerpt.end()

    def _hear(self, piece: bytes) -> None:
        if text := self._excerpt.add(piece):
            self._printed.append(text)
