"""The interface of drivers: start a sandbox, wait for its end, kill it. Pools and builds use nothing else."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from annals.domain.ports import Limits
from annals.executor.errors import StartFailed
from annals.executor.isolation.disk import OpenFileUsage

Sink = Callable[[bytes], None]
"""Receives the output of a sandbox, piece by piece, on the event loop."""


class UnixAddress(NamedTuple):
    """A socket in the task's folder. It is opened without following links, since user code can write there."""

    folder: Path
    name: str


class TcpAddress(NamedTuple):
    host: str
    port: int


class Serve(msgspec.Struct, frozen=True, kw_only=True):
    """A function server to start. `code` is its unpacked deployment, shown read-only; `folder` is private to it.

    Without `code` it starts idle, and `Sandbox.specialise` gives it a deployment later. With `has_agent` it takes
    commands beside requests.
    """

    name: str
    runtime: str
    code: Path | None
    folder: Path
    environment: dict[str, str]
    limits: Limits
    has_agent: bool = False


IDLE_LIMITS = Limits(cpus=1, memory_mb=512)
"""The limits of an idle function server, if specialising it changes them."""


class Construct(msgspec.Struct, frozen=True, kw_only=True):
    """A build to run. `folder` contains `source`, and the writable folders `build` and `output`.

    `cache` is a writable folder for package managers. With `waits_for_commands` it runs no commands of its own until
    it is killed: `Sandbox.run` sends them. Then the source, if there is one, is the file `archive` in `folder`; the
    sandbox shows it packed, as the contract says.
    """

    name: str
    runtime: str
    folder: Path
    commands: str
    environment: dict[str, str]
    limits: Limits
    cache: Path | None = None
    waits_for_commands: bool = False


class Exit(NamedTuple):
    """How a sandbox ended: its command's exit code, and whether the memory limit or the watchdog killed it.

    `lost` says why its end is unknown; then the code is meaningless.
    """

    code: int
    out_of_memory: bool = False
    breach: str = ""
    lost: str = ""


class Sandbox(Protocol):
    """One running sandbox. `log_files` is the folder of the contract's log files, None if its server uses the channel.

    `concurrency` is how many requests it takes at once. With `announces`, its responses may lower this number.
    """

    concurrency: int
    announces: bool
    address: UnixAddress | TcpAddress | None
    log_files: Path | None

    async def wait(self) -> Exit:
        """Wait until all its processes have ended. Several tasks may wait."""
        ...

    async def seal(self) -> None:
        """Prevent it from creating files outside its temporary folders. Called once its server listens."""
        ...

    async def rest(self) -> None:
        """Pause it, if the driver can, until it is specialised. Called after an idle start."""
        ...

    async def specialise(self, task: Serve) -> dict[str, str]:
        """Show an idle sandbox the code of `task` and apply its limits; this cannot be reversed.

        Returns the variables to send to its server. Raises Unsuited if the sandbox is unchanged, otherwise StartFailed.
        """
        ...

    async def run(self, command: str, seconds: float, output: Sink) -> Exit:
        """Run a command in a sandbox with an agent; return how the command, or the sandbox, ended.

        One command runs at a time. After `seconds` it is killed, which raises TimeoutError.
        """
        ...

    def open_file_usage(self) -> OpenFileUsage:
        """Return its disk use beside named files in its task's folder: deleted files, its own layer. Blocking."""
        ...

    def written(self) -> int:
        """Return how many bytes its processes have written to files, as far as the host shows them. Blocking."""
        ...

    def defer(self, *, deferred: bool) -> None:
        """Give it only the processor time that no other process wants, if the driver can, or equal time again."""
        ...

    async def pause(self) -> None:
        """Stop its processes until `resume`. Does nothing if it has ended."""
        ...

    async def resume(self) -> None:
        """Continue its processes after `pause`."""
        ...

    async def kill(self) -> None:
        """Kill all its processes and wait until they have ended."""
        ...


class Driver(Protocol):
    """Starts sandboxes. Every method may be called from many tasks."""

    name: str

    async def open(self) -> None:
        """Prepare the driver, and remove sandboxes that an earlier process of this executor left running."""
        ...

    async def close(self) -> None:
        """Kill running sandboxes, and release every resource."""
        ...

    async def prepare(self, runtime: str) -> None:
        """Install a runtime if it is missing. Raises RuntimeUnavailable."""
        ...

    async def served(self) -> list[str]:
        """Return the runtime ids that this driver can serve."""
        ...

    @property
    def idle_limits(self) -> Limits:
        """The limits that an idle function server starts with."""
        ...

    def idles(self, runtime: str, limits: Limits) -> bool:
        """Return True if a function server of this runtime can start idle and get these limits later."""
        ...

    async def serve(self, task: Serve, output: Sink) -> Sandbox:
        """Start a function server. Raises RuntimeUnavailable or StartFailed."""
        ...

    async def construct(self, task: Construct, output: Sink) -> Sandbox:
        """Start a build. Raises RuntimeUnavailable or StartFailed."""
        ...

    def enforced(self) -> dict[str, str]:
        """Return how each limit is enforced: `kernel`, `watchdog` or `none`."""
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
