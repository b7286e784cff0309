"""The façade's runtimes: created, found, called and removed by the ids that another control plane gives them."""

import asyncio
import socket
import time
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from annals.domain.ports import Outcome
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Driver
from annals.executor.open_runtimes.command_sandboxes import Builds, Held
from annals.executor.open_runtimes.commands import Command
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.function_servers import Serving
from annals.executor.open_runtimes.output import Record
from annals.executor.open_runtimes.parameters import Call, Spec, serves
from annals.executor.open_runtimes.runtime import Runtime
from annals.executor.open_runtimes.sources import Sources
from annals.executor.pool.code import CodeCache
from annals.executor.pool.group import Key
from annals.executor.pool.instance import Instance, Why
from annals.store.content.blobs import Blobs

log = structlog.get_logger()

MOST = 4096
LOOK_SECONDS = 1.0
READ_LATER_SECONDS = 10.0
"""How long a build's output can still be read after its runtime is gone, and a reader waits for one to come."""


class Runtimes:
    """Bounded tables of runtimes. Single-threaded: every method runs on the event loop."""

    def __init__(self, config: ExecutorConfig, driver: Driver) -> None:
        self._config = config
        self._host = socket.gethostname()
        blobs = Blobs.open(config.blobs_url)
        code = CodeCache(config.work / "code", blobs, config.code_cache_bytes)
        sources = Sources(blobs, config.build_disk_bytes)
        self._builds = Builds(config, driver, code, blobs, sources)
        self._serving = Serving(config, driver, code, sources, self._ended)
        self._all: dict[str, Runtime] = {}
        self._as_of: dict[str, tuple[Record, float]] = {}
        self._arrived = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._builds.open()
        self._serving.open()
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """End all of them."""
        if self._sweeping:
            self._sweeping.cancel()
        await asyncio.gather(*map(self._remove, tuple(self._all.values())), return_exceptions=True)
        await asyncio.gather(self._serving.close(), *self._ending, return_exceptions=True)

    def seen(self, name: str) -> dict[str, Any]:
        """One as calls answer it. Raises ApiError."""
        runtime = self._found(name)
        return runtime.seen(self._host, self._serving.key(runtime))

    def all_seen(self) -> list[dict[str, Any]]:
        return [self.seen(name) for name in self._all]

    async def create(self, name: str, spec: Spec) -> dict[str, Any]:
        """Make one, and build in it where that is asked for; the reply's content. Raises ApiError."""
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
        """End one, whatever it does; returns when it is gone. Raises ApiError."""
        await self._remove(self._found(name))

    async def execute(self, name: str, call: Call, spec: Spec) -> tuple[Outcome, float, float]:
        """Call a function, starting its runtime where there is none: its outcome, when it began, how long it took."""
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
        outcome = await self._serving.execute(runtime, call, left)
        runtime.touch()
        return outcome, started, time.monotonic() - began

    async def command(self, name: str, command: str, seconds: float) -> str:
        """Run a command in one; what it printed. Raises ApiError."""
        runtime = self._found(name)
        await self._made(runtime)
        runtime.touch()
        running = Command(command, seconds)
        if runtime.held is not None:
            return await running.run(runtime.held.run)
        return await running.run((await self._serving.up(runtime, seconds)).command)

    async def output(self, name: str, seconds: float) -> Record:
        """What a runtime prints as it is made, once there is something of it. Raises ApiError."""
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

    def _record(self, name: str) -> Record | None:
        if runtime := self._all.get(name):
            return runtime.record
        return self._as_of[name][0] if name in self._as_of else None

    def _found(self, name: str) -> Runtime:
        runtime = self._all.get(name)
        if runtime is None:
            raise ApiError("runtime_not_found")
        return runtime

    def _begin(self, name: str, spec: Spec) -> Runtime:
        serving = serves(spec)
        if len(self._all) >= MOST:
            raise ApiError("general_overloaded")
        runtime = self._all[name] = Runtime(name, spec)
        runtime.making = asyncio.create_task(self._make(runtime, serving=serving))
        runtime.making.add_done_callback(_heard)
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()
        return runtime

    async def _made(self, runtime: Runtime) -> dict[str, Any]:
        """Wait until one is made, by whomever; others may wait too. Raises what went wrong."""
        if runtime.making is None:
            raise ApiError("runtime_not_found")
        try:
            return await asyncio.shield(runtime.making)
        except asyncio.CancelledError:
            if runtime.deleted:
                raise ApiError("runtime_failed", "The runtime was deleted while it was being created.") from None
            raise

    async def _make(self, runtime: Runtime, *, serving: bool) -> dict[str, Any]:
        began, spec = time.monotonic(), runtime.spec
        content: dict[str, Any] = {}
        try:
            if serving:
                await self._serving.begin(runtime)
            else:
                self._make_room()
                runtime.held = await self._builds.hold(runtime.name, spec)
                artefact = await self._builds.build(runtime.held, spec, runtime.record)
                if artefact is not None:
                    root = "/" if spec.destination.startswith("/") else ""
                    content = {"path": root + artefact.key, "size": artefact.size}
        except BaseException:
            await asyncio.shield(self._dispose(runtime))
            raise
        finally:
            runtime.record.end()
        runtime.took = time.monotonic() - began
        runtime.touch()
        return {
            **content,
            "output": runtime.record.chunks,
            "startTime": runtime.created,
            "duration": runtime.took,
        }

    def _make_room(self) -> None:
        """End the sandbox that nobody has used for longest, where there are as many as there may be."""
        idle = [one for one in self._all.values() if one.ready and one.held and not one.held.busy]
        if sum(1 for one in self._all.values() if one.held) >= self._config.instances:
            if not idle:
                raise ApiError("general_overloaded")
            self._background(min(idle, key=lambda one: one.held.used if one.held else 0.0))

    async def _remove(self, runtime: Runtime) -> None:
        runtime.deleted = True
        if runtime.making is not None and not runtime.making.done():
            runtime.making.cancel()
            await asyncio.wait((runtime.making,))
        else:
            await self._dispose(runtime)

    def _forget(self, runtime: Runtime) -> None:
        """Nobody finds it any more; what it printed is kept for a moment."""
        if self._all.get(runtime.name) is runtime:
            del self._all[runtime.name]
            self._as_of[runtime.name] = runtime.record, time.monotonic() + READ_LATER_SECONDS
        runtime.record.end()

    async def _dispose(self, runtime: Runtime) -> None:
        """Forget one, and end what is left of it."""
        self._forget(runtime)
        held, runtime.held = runtime.held, None
        if held is not None:
            await self._builds.end(held)
        await self._serving.end(runtime)

    def _background(self, runtime: Runtime) -> None:
        self._forget(runtime)
        task = asyncio.create_task(self._remove(runtime))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _ended(self, key: Key, instance: Instance, why: Why) -> None:
        """An idle runtime goes; one that ended by itself stays where its policy has it started again."""
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
            self._as_of = {name: past for name, past in self._as_of.items() if past[1] > now}
            for runtime in tuple(self._all.values()):
                if runtime.ready and _idle(runtime.held, now, self._config.idle_seconds):
                    self._background(runtime)


def _idle(held: Held | None, now: float, seconds: float) -> bool:
    return held is not None and not held.busy and now - held.used > seconds


def _heard(making: "asyncio.Task[Any]") -> None:
    """Those who asked are told by `_made`; where nobody waits any more, nobody needs to be."""
    with suppress(asyncio.CancelledError):
        making.exception()
