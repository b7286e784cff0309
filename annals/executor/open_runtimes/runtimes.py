"""Creates, finds, calls and removes runtimes by the ids that another control plane gives them."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from annals.domain.ports import Outcome
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Driver, Exit, Sink
from annals.executor.errors import StartFailed
from annals.executor.logs.excerpt import Excerpt
from annals.executor.open_runtimes.command_sandboxes import CommandSandboxes
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.function_servers import FunctionServers
from annals.executor.open_runtimes.parameters import ExecutionSpec, RuntimeSpec, serves
from annals.executor.open_runtimes.runtime import CommandSandbox, ManagedRuntime, RuntimeOutput
from annals.executor.open_runtimes.sources import SourceArchives
from annals.executor.pool.code import CodeCache
from annals.executor.pool.group import Key
from annals.executor.pool.instance import Instance, Why
from annals.store.content.blobs import Blobs

log = structlog.get_logger()

MOST = 4096
LOOK_SECONDS = 1.0
READ_LATER_SECONDS = 10.0
"""How long output stays readable after its runtime was removed, and a reader waits for a runtime to be created."""


RunsCommand = Callable[[str, float, Sink], Awaitable[Exit]]
"""Runs a command for at most so many seconds, and sends its output to a sink."""


class Runtimes:
    """A limited number of runtimes. Single-threaded: every method runs on the event loop."""

    def __init__(self, config: ExecutorConfig, driver: Driver) -> None:
        self._config = config
        self._host = socket.gethostname()
        blobs = Blobs.open(config.blobs_url)
        code = CodeCache(config.work / "code", blobs, config.code_cache_bytes)
        sources = SourceArchives(blobs, config.build_disk_bytes)
        self._sandboxes = CommandSandboxes(config, driver, code, blobs, sources)
        self._servers = FunctionServers(config, driver, code, sources, self._ended)
        self._all: dict[str, ManagedRuntime] = {}
        self._removed: dict[str, tuple[RuntimeOutput, float]] = {}
        """The output of removed runtimes, and until when (monotonic) it stays readable."""
        self._arrived = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._sandboxes.open()
        self._servers.open()
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Remove all runtimes."""
        if self._sweeping:
            self._sweeping.cancel()
        await asyncio.gather(*map(self._remove, tuple(self._all.values())), return_exceptions=True)
        await asyncio.gather(self._servers.close(), *self._ending, return_exceptions=True)

    def seen(self, name: str) -> dict[str, Any]:
        """Return one runtime for replies. Raises ApiError."""
        runtime = self._found(name)
        return runtime.seen(self._host, self._servers.key(runtime))

    def all_seen(self) -> list[dict[str, Any]]:
        return [self.seen(name) for name in self._all]

    async def create(self, name: str, spec: RuntimeSpec) -> dict[str, Any]:
        """Create a runtime, and build in it if it has a command; return the reply's content. Raises ApiError."""
        if found := self._all.get(name):
            if found.ready:
                raise ApiError("runtime_conflict")
            raise ApiError(
                "runtime_conflict",
                "A runtime with the same ID is already being created. Attempt a execution soon.",
            )
        runtime = self._begin(name, spec)
        content = await self._made(runtime)
        if spec.remove:
            await self._remove(runtime)
        return content

    async def delete(self, name: str) -> None:
        """Remove a runtime, also a busy one, and wait until it has ended. Raises ApiError."""
        await self._remove(self._found(name))

    async def execute(self, name: str, call: ExecutionSpec, spec: RuntimeSpec) -> tuple[Outcome, float, float]:
        """Call a function, creating its runtime if there is none; return the outcome, start time and duration."""
        started, began = time.time(), time.monotonic()
        runtime = self._all.get(name)
        if runtime is None:
            if not (spec.image and spec.source):
                raise ApiError("runtime_not_found")
            start = spec.start or 'helpers/start.sh "bash helpers/server.sh"'
            runtime = self._begin(name, msgspec.structs.replace(spec, start=start, timeout=call.timeout))
        try:
            async with asyncio.timeout(call.timeout):
                await self._made(runtime)
        except TimeoutError:
            raise ApiError("runtime_timeout") from None
        runtime.touch()
        left = max(1.0, call.timeout - (time.monotonic() - began))
        outcome = await self._servers.execute(runtime, call, left)
        runtime.touch()
        return outcome, started, time.monotonic() - began

    async def command(self, name: str, command: str, seconds: float) -> str:
        """Run a command in a runtime; return its output. Raises ApiError."""
        runtime = self._found(name)
        await self._made(runtime)
        runtime.touch()
        if runtime.sandbox is not None:
            return await run_command(runtime.sandbox.run, command, seconds)
        return await run_command((await self._servers.up(runtime, seconds)).command, command, seconds)

    async def output(self, name: str, seconds: float) -> RuntimeOutput:
        """Wait for a runtime's first output; return all its output. Raises ApiError."""
        try:
            async with asyncio.timeout(min(seconds, READ_LATER_SECONDS)):
                while (record := self._record(name)) is None:
                    await self._arrived.wait()
        except TimeoutError:
            raise ApiError("runtime_not_found") from None
        try:
            async with asyncio.timeout(seconds):
                await record.more(0)
        except TimeoutError:
            raise ApiError("logs_timeout") from None
        return record

    def _record(self, name: str) -> RuntimeOutput | None:
        if runtime := self._all.get(name):
            return runtime.output
        return self._removed[name][0] if name in self._removed else None

    def _found(self, name: str) -> ManagedRuntime:
        runtime = self._all.get(name)
        if runtime is None:
            raise ApiError("runtime_not_found")
        return runtime

    def _begin(self, name: str, spec: RuntimeSpec) -> ManagedRuntime:
        serving = serves(spec)
        if len(self._all) >= MOST:
            raise ApiError("general_overloaded")
        runtime = self._all[name] = ManagedRuntime(name, spec)
        runtime.making = asyncio.create_task(self._make(runtime, serving=serving))
        runtime.making.add_done_callback(_retrieve_error)
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()
        return runtime

    async def _made(self, runtime: ManagedRuntime) -> dict[str, Any]:
        """Wait until a runtime is created; several callers may wait. Raises the error of its creation."""
        if runtime.making is None:
            raise ApiError("runtime_not_found")
        try:
            return await asyncio.shield(runtime.making)
        except asyncio.CancelledError:
            if runtime.deleted:
                raise ApiError("runtime_failed", "The runtime was deleted while it was being created.") from None
            raise

    async def _make(self, runtime: ManagedRuntime, *, serving: bool) -> dict[str, Any]:
        began, spec = time.monotonic(), runtime.spec
        content: dict[str, Any] = {}
        try:
            if serving:
                await self._servers.begin(runtime)
            else:
                self._make_space()
                runtime.sandbox = await self._sandboxes.start(runtime.name, spec)
                artefact = await self._sandboxes.build(runtime.sandbox, spec, runtime.output)
                if artefact is not None:
                    root = "/" if spec.destination.startswith("/") else ""
                    content = {"path": root + artefact.key, "size": artefact.size}
        except BaseException:
            await asyncio.shield(self._dispose(runtime))
            raise
        finally:
            runtime.output.end()
        runtime.took = time.monotonic() - began
        runtime.touch()
        return {
            **content,
            "output": runtime.output.chunks,
            "startTime": runtime.created,
            "duration": runtime.took,
        }

    def _make_space(self) -> None:
        """Remove the least recently used idle sandbox if their number is at its limit."""
        idle = [
            runtime for runtime in self._all.values() if runtime.ready and runtime.sandbox and not runtime.sandbox.busy
        ]
        if sum(1 for runtime in self._all.values() if runtime.sandbox) >= self._config.instances:
            if not idle:
                raise ApiError("general_overloaded")
            self._background(min(idle, key=lambda runtime: runtime.sandbox.used if runtime.sandbox else 0.0))

    async def _remove(self, runtime: ManagedRuntime) -> None:
        runtime.deleted = True
        if runtime.making is not None and not runtime.making.done():
            runtime.making.cancel()
            await asyncio.wait((runtime.making,))
        else:
            await self._dispose(runtime)

    def _forget(self, runtime: ManagedRuntime) -> None:
        """Remove a runtime from the table; its output stays readable for a moment."""
        if self._all.get(runtime.name) is runtime:
            del self._all[runtime.name]
            self._removed[runtime.name] = runtime.output, time.monotonic() + READ_LATER_SECONDS
        runtime.output.end()

    async def _dispose(self, runtime: ManagedRuntime) -> None:
        """Remove a runtime from the table, and end its sandbox and its function server."""
        self._forget(runtime)
        sandbox, runtime.sandbox = runtime.sandbox, None
        if sandbox is not None:
            await self._sandboxes.end(sandbox)
        await self._servers.end(runtime)

    def _background(self, runtime: ManagedRuntime) -> None:
        self._forget(runtime)
        task = asyncio.create_task(self._remove(runtime))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _ended(self, key: Key, instance: Instance, why: Why) -> None:
        """Remove a runtime whose instance was idle, or ended by itself unless its policy restarts it."""
        runtime = self._all.get(key[1])
        if runtime is None or runtime.incarnation != key[2] or not runtime.ready:
            return
        policy = runtime.spec.policy
        over = policy == "no" or (policy == "on-failure" and instance.exit is not None and instance.exit.code == 0)
        if why is Why.IDLE or (why is Why.BY_ITSELF and over):
            self._background(runtime)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.monotonic()
            self._removed = {name: entry for name, entry in self._removed.items() if entry[1] > now}
            for runtime in tuple(self._all.values()):
                if runtime.ready and _idle(runtime.sandbox, now, self._config.idle_seconds):
                    self._background(runtime)


async def run_command(run: RunsCommand, command: str, seconds: float) -> str:
    """Run a command with `run`; return an excerpt of its output. Raises ApiError if it fails."""
    excerpt = Excerpt()
    pieces: list[str] = []

    def add(piece: bytes) -> None:
        if text := excerpt.add(piece):
            pieces.append(text)

    try:
        end = await run(command, seconds, add)
    except TimeoutError:
        raise ApiError("command_timeout") from None
    except StartFailed as failure:
        raise ApiError("runtime_failed", str(failure)) from failure
    if end.code != 0:
        raise ApiError("command_failed")
    return "".join(pieces) + excerpt.end()


def _idle(sandbox: CommandSandbox | None, now: float, seconds: float) -> bool:
    return sandbox is not None and not sandbox.busy and now - sandbox.used > seconds


def _retrieve_error(making: "asyncio.Task[Any]") -> None:
    """Mark a creation's error as retrieved: `_made` raises it in every caller that still waits."""
    with suppress(asyncio.CancelledError):
        making.exception()
