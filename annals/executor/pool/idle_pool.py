"""The idle pool: function servers that start before they have a deployment, so that a first call finds one ready.

A deployment keeps the server that it gets, and the pool starts another one when there is time. The pool has servers of
runtimes in use, and ends them when a runtime has not been used for a while.
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
"""The pause before the next start after a server was taken: the call that took it needs the processor first."""

UNUSED_SECONDS = 3600.0
ANY = "*"
RETRY_SECONDS = 10.0

READ_AT_START = ("NODE_", "PYTHON", "LD_", "UV_", "LC_", "LANG", "OPENSSL_", "MALLOC_", "GLIBC_", "V8_", "ICU_")
READ_LATER = frozenset(("NODE_ENV",))
"""Variables that an interpreter reads only when it starts: a function with them cannot use an idle server."""


class _IdleServers:
    """The idle servers of one runtime."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ready: deque[Instance] = deque()
        self.used = time.monotonic()
        self.blocked_until = 0.0


class IdlePool:
    """Idle instances by runtime. Single-threaded: every method runs on the event loop."""

    def __init__(self, config: ExecutorConfig, driver: Driver, folder: Path) -> None:
        self._config = config
        self._driver = driver
        self._folder = folder
        self._servers: dict[str, _IdleServers] = {}
        self._wanted = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Begin to fill the pool; runtimes that the configuration names have idle servers from the start."""
        for runtime, size in self._config.idle_pool.items():
            if size and runtime != ANY and self._driver.idles(runtime, self._driver.idle_limits):
                self._servers[runtime] = _IdleServers(size)
                self._wanted.set()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End all idle instances."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        for runtime in tuple(self._servers):
            self._drop(runtime)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def __len__(self) -> int:
        return sum(len(servers.ready) for servers in self._servers.values())

    def expect(self, runtime: str) -> None:
        """Mark a runtime as in use, and start idle instances of it."""
        servers = self._servers.get(runtime)
        if servers is None:
            size = self._config.idle_pool.get(runtime, self._config.idle_pool.get(ANY, 0))
            if not size or not self._driver.idles(runtime, self._driver.idle_limits):
                return
            servers = self._servers[runtime] = _IdleServers(size)
        servers.used = time.monotonic()
        if len(servers.ready) < servers.size:
            self._wanted.set()

    def take(self, run: Run) -> Instance | None:
        """Remove and return an idle instance that can become this run's; None if there is none."""
        servers = self._servers.get(run.runtime)
        if servers is None or any(map(_read_at_start, run.environment)):
            return None
        if not self._driver.idles(run.runtime, run.limits):
            return None
        while servers.ready:
            instance = servers.ready.popleft()
            if instance.exit is None and not instance.retired:
                return instance
        return None

    def give_back(self, runtime: str, instance: Instance) -> None:
        """Return an instance that is still idle to the pool."""
        if servers := self._servers.get(runtime):
            servers.ready.appendleft(instance)
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
            for runtime, servers in tuple(self._servers.items()):
                named = runtime in self._config.idle_pool
                if now - servers.used > UNUSED_SECONDS and not named:
                    self._drop(runtime)
                while len(servers.ready) < servers.size and servers.blocked_until <= now and runtime in self._servers:
                    await self._add(runtime, servers)

    async def _add(self, runtime: str, servers: _IdleServers) -> None:
        instance = Instance(self._folder, self._config.response_limit_bytes)
        try:
            await instance.start_idle(self._driver, runtime, self._driver.idle_limits, START_SECONDS)
        except (StartFailed, RuntimeUnavailable, OSError) as failure:
            log.info("idle_pool.start_failed", runtime=runtime, message=str(failure)[:500])
            servers.blocked_until = time.monotonic() + RETRY_SECONDS
            await instance.stop()
        except asyncio.CancelledError:
            await instance.stop()
            raise
        else:
            servers.ready.append(instance)
            self._background(self._watch(servers, instance))

    async def _watch(self, servers: _IdleServers, instance: Instance) -> None:
        """Replace an instance that ends while it is idle."""
        await instance.ended()
        if instance in servers.ready:
            servers.ready.remove(instance)
            servers.blocked_until = time.monotonic() + RETRY_SECONDS
            await instance.stop()

    def _drop(self, runtime: str) -> None:
        servers = self._servers.pop(runtime)
        while servers.ready:
            self._background(servers.ready.popleft().stop())

    def _background(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _read_at_start(name: str) -> bool:
    return name.startswith(READ_AT_START) and name not in READ_LATER
