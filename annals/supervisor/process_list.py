"""The file that `annals ps` shows: an instance's processes, written whenever one of them changes."""

import asyncio
from collections.abc import Callable, Sequence

from annals.supervisor.folders import Folders, Process

RETRY_SECONDS = 1.0
"""How soon a list is written again that the disk did not take."""


class ProcessList:
    """Writes what `rows` gives; belongs to the running event loop."""

    def __init__(self, folders: Folders, rows: Callable[[], Sequence[Process]]) -> None:
        self._folders, self._rows = folders, rows
        self._retrying: asyncio.TimerHandle | None = None

    def write(self) -> None:
        """Write the list now, or once a full disk has room again: nothing else may change until then."""
        self.close()
        try:
            self._folders.write("processes.json", self._rows())
        except OSError:
            self._retrying = asyncio.get_running_loop().call_later(RETRY_SECONDS, self.write)

    def close(self) -> None:
        """Write nothing more by itself."""
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None
