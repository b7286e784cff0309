"""What the sandbox driver is about to start."""

from pathlib import Path

import msgspec

from annals.domain.ports import Limits
from annals.executor.drivers.port import UnixAddress
from annals.executor.runtimes import Toolchain


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox to start: `words` are for bubblewrap, `owned` folders get its user, `entrance` is handed to it.

    `cache` is one that gets its user with all that is in it, `idle` is the toolchain of one that gets its code later.
    `file_bytes` bounds each file it writes, 0 for no bound. One that is `attended` takes commands beside; it may have
    none of its own.
    """

    name: str
    words: list[str]
    command: list[str]
    limits: Limits
    pids: int
    file_bytes: int = 0
    owned: tuple[Path, ...] = ()
    address: UnixAddress | None = None
    listening_socket: int = -1
    concurrency: int = 1
    announces: bool = False
    terminal: bool = False
    cache: Path | None = None
    idle: Toolchain | None = None
    has_agent: bool = False
