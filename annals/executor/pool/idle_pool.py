"""Idle function servers, started before anybody knows what they will serve: a first call finds one that waits.

One is given to a deployment once and for good; where it came from, another follows when there is time. Runtimes that
are in use have a reserve; it is let go when they have not been for a while.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import structlog

from annals.domain.ports import Run
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Driver
from annals.executor.errors import RuntimeUnavailable, StartFailed
from annals.executor.pool.instance import Instance

log = structlog.get_logger()

START_SECONDS = 60.0
REST_SECONDS = 0.15
"""Between taking one and starting the next: the call that took it needs the processor more."""

UNUSED_SECONDS = 3600.0
ANY = "*"
RETRY_SECONDS = 10.0

READ_AT_START = ("NODE_", "PYTHON", "LD_", "UV_", "LC_", "LANG", "OPENSSL_", "MALLOC_", "GLIBC_", "V8_", "ICU_")
READ_LATER = frozenset(("NODE_ENV",))
"""Variables by how an interpreter takes them: what it reads only as it starts needs an instance started with it."""


class _Shelf:
    """The idle servers of one runtime."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ready: deque[Instance] = deque()
        self.used = time.monotonic()
        self.blocked_until = 0.0


class Reserve:
    """Idle instances by runtime. Single-threaded: every method runs on the event loop."""

    def __init__(self, config: ExecutorConfig, driver: Driver, folder: Path) -> None:
        self._config = config
        self._driver = driver
        self._folder = folder
        self._shelves: dict[str, _Shelf] = {}
        self._wanted = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Begin to fill; runtimes that the configuration names have their reserve from the start."""
        for runtime, size in self._config.reserve.items():
            if size and runtime != ANY and self._driver.idles(runtime, self._driver.idle_limits):
                self._shelves[runtime] = _Shelf(size)
                self._wanted.set()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End all of them."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        for runtime in tuple(self._shelves):
            self._drop(runtime)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def __len__(self) -> int:
        return sum(len(shelf.ready) for shelf in self._shelves.values())

    def expect(self, runtime: str) -> None:
        """A runtime is in use: have some of it ready."""
        shelf = self._shelves.get(runtime)
        if shelf is None:
            size = self._config.reserve.get(runtime, self._config.reserve.get(ANY, 0))
            if not size or not self._driver.idles(runtime, self._driver.idle_limits):
                return
            shelf = self._shelves[runtime] = _Shelf(size)
        shelf.used = time.monotonic()
        if len(shelf.ready) < shelf.size:
            self._wanted.set()

    def take(self, run: Run) -> Instance | None:
        """An idle instance that could become this run's; it is the caller's from now on. None: start one."""
        shelf = self._shelves.get(run.runtime)
        if shelf is None or any(map(_read_at_start, run.environment)):
            return None
        if not self._driver.idles(run.runtime, run.limits):
            return None
        while shelf.ready:
            instance = shelf.ready.popleft()
            if instance.exit is None and not instance.retired:
                return instance
        return None

    def give_back(self, runtime: str, instance: Instance) -> None:
        """It is idle still, as it was taken."""
        if shelf := self._shelves.get(runtime):
            shelf.ready.appendleft(instance)
        else:
            self._background(instance.stop())

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()
            await asyncio.sleep(REST_SECONDS)
            now = time.monotonic()
            for runtime, shelf in tuple(self._shelves.items()):
                named = runtime in self._config.reserve
                if now - shelf.used > UNUSED_SECONDS and not named:
                    self._drop(runtime)
                while len(shelf.ready) < shelf.size and shelf.blocked_until <= now and runtime in self._shelves:
                    await self._add(runtime, shelf)

    async def _add(self, runtime: str, shelf: _Shelf) -> None:
        instance = Instance(self._folder, self._config.response_limit_bytes)
        try:
            await instance.start_idle(self._driver, runtime, self._driver.idle_limits, START_SECONDS)
        except (StartFailed, RuntimeUnavailable, OSError) as failure:
            log.info("reserve.start_failed", runtime=runtime, message=str(failure)[:500])
            shelf.blocked_until = time.monotonic() + RETRY_SECONDS
            await instance.stop()
        except asyncio.CancelledError:
            await instance.stop()
            raise
        else:
            shelf.ready.append(instance)
            self._background(self._watch(shelf, instance))

    async def _watch(self, shelf: _Shelf, instance: Instance) -> None:
        """One that ends while it waits makes place for another."""
        await instance.ended()
        if instance in shelf.ready:
            shelf.ready.remove(instance)
            shelf.blocked_until = time.monotonic() + RETRY_SECONDS
            await instance.stop()

    def _drop(self, runtime: str) -> None:
        shelf = self._shelves.pop(runtime)
        while shelf.ready:
            self._background(shelf.ready.popleft().stop())

    def _background(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _read_at_start(name: str) -> bool:
    return name.startswith(READ_AT_START) and name not in READ_LATER
