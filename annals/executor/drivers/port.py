"""What a driver can do: start one sandbox, see it end, end it. Pools and builds know nothing beyond this."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from annals.domain.ports import Limits
from annals.executor.errors import StartFailed
from annals.executor.isolation.open_files import Held

Sink = Callable[[bytes], None]
"""Takes what a sandbox prints, piece by piece, on the event loop."""


class UnixAddress(NamedTuple):
    """A socket below the task's own folder; resolved without following links, since user code can write there."""

    folder: Path
    name: str


class TcpAddress(NamedTuple):
    host: str
    port: int


class Serve(msgspec.Struct, frozen=True, kw_only=True):
    """A function server to start: `code` is its unpacked deployment, shown read-only; `folder` is private to it.

    Without `code` it starts idle, for nobody yet; `Sandbox.specialise` says later what it serves. One that is
    `attended` takes commands beside requests.
    """

    name: str
    runtime: str
    code: Path | None
    folder: Path
    environment: dict[str, str]
    limits: Limits
    has_agent: bool = False


IDLE_LIMITS = Limits(cpus=1, memory_mb=512)
"""What bounds an idle function server where its size is set when it is taken."""


class Construct(msgspec.Struct, frozen=True, kw_only=True):
    """A build to run: below `folder` lie `source`, and `build` and `output` to write to.

    `cache` is a folder, to write to as well, that the package managers are told to use. One that is `held` runs no
    commands of its own: it waits for those that `Sandbox.run` is given, finds its source still packed at the contract's
    place where `folder` has an `archive`, and goes on until it is killed.
    """

    name: str
    runtime: str
    folder: Path
    commands: str
    environment: dict[str, str]
    limits: Limits
    cache: Path | None = None
    held: bool = False


class Exit(NamedTuple):
    """How a sandbox ended: its command's exit code, and whether the memory limit or the watchdog ended it.

    `lost` says why nobody knows how it ended: then the code means nothing.
    """

    code: int
    out_of_memory: bool = False
    breach: str = ""
    lost: str = ""


class Sandbox(Protocol):
    """One running sandbox. `log_files` is where its server writes the contract's log files, None for the channel.

    `concurrency` is how many requests it takes at once, unless its answers say that it takes fewer: `announces` tells
    whether they would.
    """

    concurrency: int
    announces: bool
    address: UnixAddress | TcpAddress | None
    log_files: Path | None

    async def wait(self) -> Exit:
        """Wait until every process of it is gone; may be called by several."""
        ...

    async def seal(self) -> None:
        """Called once its server listens: from now on it needs to make no file outside its own temporary ones."""
        ...

    async def rest(self) -> None:
        """Called when it has started idle: it may be halted until it is specialised."""
        ...

    async def specialise(self, task: Serve) -> dict[str, str]:
        """Show an idle sandbox the code of `task` and hold it to its limits, for good.

        Returns the variables that its server must be told. Raises Unsuited when it is left as it was, else StartFailed.
        """
        ...

    async def run(self, command: str, seconds: float, output: Sink) -> Exit:
        """Run a command in a held or attended sandbox, beside what runs there; how it, or the sandbox, ended.

        One command at a time. It is killed after `seconds`: then raises TimeoutError.
        """
        ...

    def held_open(self) -> Held:
        """What it takes of the disk beside names in its task's folder: deleted files, its own layer. Blocking."""
        ...

    def written(self) -> int:
        """Bytes that its processes have written to files, as far as the host shows them. Blocking."""
        ...

    async def pause(self) -> None:
        """Stop its processes for a while. What has ended is left alone."""
        ...

    async def resume(self) -> None:
        """Let its processes go on after `pause`."""
        ...

    async def kill(self) -> None:
        """End every process of it at once; returns when they are gone."""
        ...


class Driver(Protocol):
    """Starts sandboxes. Every method may be called from many tasks."""

    name: str

    async def open(self) -> None:
        """Get ready, and remove what a former life of this executor left running."""
        ...

    async def close(self) -> None:
        """Let go of everything; sandboxes that still run are ended."""
        ...

    async def prepare(self, runtime: str) -> None:
        """Make sure that a runtime can be started, installing it if need be. Raises RuntimeUnavailable."""
        ...

    async def served(self) -> list[str]:
        """The runtime ids that this driver can serve."""
        ...

    @property
    def idle_limits(self) -> Limits:
        """What an idle function server is started with."""
        ...

    def idles(self, runtime: str, limits: Limits) -> bool:
        """Whether a function server of a runtime can be started idle and be held to these limits later."""
        ...

    async def serve(self, task: Serve, output: Sink) -> Sandbox:
        """Start a function server. Raises RuntimeUnavailable or StartFailed."""
        ...

    async def construct(self, task: Construct, output: Sink) -> Sandbox:
        """Start a build. Raises RuntimeUnavailable or StartFailed."""
        ...

    def enforced(self) -> dict[str, str]:
        """How each limit is enforced: `kernel`, `watchdog` or `none`."""
        ...


S = TypeVar("S", bound=Sandbox)


async def started(start: Coroutine[Any, Any, S]) -> S:
    """Return the sandbox that `start` starts. If the caller is cancelled, finish the start, then kill the sandbox."""
    task = asyncio.ensure_future(start)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        ending = asyncio.ensure_future(_kill_started(task))
        while not ending.done():  # a second cancel must not leave a sandbox behind either
            with suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
        await ending
        raise


async def _kill_started(starting: "asyncio.Future[S]") -> None:
    with suppress(StartFailed, OSError):
        await (await starting).kill()
