"""Commands in runtimes: their output, kept to a bound, or how they failed."""

from collections.abc import Awaitable, Callable

from annals.executor.buildlog import KEPT
from annals.executor.drivers.port import Exit, Sink
from annals.executor.facade.errors import Refusal
from annals.executor.refusals import StartFailed

Runs = Callable[[str, float, Sink], Awaitable[Exit]]


class Command:
    """One command and what it has printed so far, at most KEPT bytes of it."""

    def __init__(self, command: str, seconds: float) -> None:
        self._command, self._seconds = command, seconds
        self._printed: list[bytes] = []
        self._size = 0

    async def run(self, runs: Runs) -> str:
        """Its output, once it has ended well. Raises Refusal."""
        try:
            end = await runs(self._command, self._seconds, self._hear)
        except TimeoutError:
            raise Refusal("command_timeout") from None
        except StartFailed as failure:
            raise Refusal("runtime_failed", str(failure)) from failure
        if end.code != 0:
            raise Refusal("command_failed")
        return b"".join(self._printed).decode(errors="replace").replace("\r\n", "\n")

    def _hear(self, piece: bytes) -> None:
        room = KEPT - self._size
        if room > 0:
            self._printed.append(piece[:room])
            self._size += len(piece)
