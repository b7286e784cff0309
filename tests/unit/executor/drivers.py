"""A driver for tests of pool and runner: instances are servers in this process, with configurable faults.

`Host` is a pool and runner with such a driver.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from annals.domain.ports import Artefact, Limits, Outcome, Run
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Construct, Exit, Sandbox, Serve, Sink, TcpAddress, UnixAddress, started
from annals.executor.isolation.disk import OpenFileUsage
from annals.executor.logs.excerpt import STARTED
from annals.executor.logs.spool import Spools
from annals.executor.pool.pool import Pool
from annals.executor.pool.runner import Runner
from annals.store.content.blobs import Blobs

Answer = Callable[[bytes], Awaitable[bytes]]


def run(**changes: object) -> Run:
    """A run of one small function."""
    values: dict[str, object] = {
        **dict.fromkeys(("project", "function"), "p"),
        "deployment": "d1",
        "execution": "e1",
        "epoch": 1,
        "runtime": "fake-1",
        "artefact": Artefact(key="k", digest="0" * 64, size=1),
        "entrypoint": "main",
        "environment": {},
        "environment_digest": "v1",
        "limits": Limits(cpus=1, memory_mb=64),
        "method": "GET",
        "path": "/",
        "headers": [],
        "body": b"",
        "logging": False,
        "start_seconds": 60.0,
        "run_seconds": 60.0,
    }
    return Run(**(values | changes))  # type: ignore[arg-type]


async def hello(_: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


class FakeSandbox:
    """One server on a unix socket. `killed` says that a test killed it; `last` is its exit then."""

    def __init__(self, folder: Path, concurrency: int) -> None:
        self.address: UnixAddress | TcpAddress | None = UnixAddress(folder / "io", "http.sock")
        self.log_files: Path | None = None
        self.concurrency = concurrency
        self.announces = False
        self.specialised: list[Serve] = []
        self.code: Path | None = None
        self.error: Exception | None = None
        self.rested = self.killed = self.deferred = False
        self.last = Exit(-9)
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    def open_file_usage(self) -> OpenFileUsage:
        return OpenFileUsage()

    def written(self) -> int:
        return 0

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    def defer(self, *, deferred: bool) -> None:
        self.deferred = deferred

    async def listen(self, folder: Path, answer: Answer) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            while not reader.at_eof():
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next((int(n) for n in re.findall(rb"content-length: (\d+)", head)), 0)
                    await reader.readexactly(length)
                except (asyncio.IncompleteReadError, ConnectionError):
                    break
                asking = asyncio.ensure_future(answer(head))
                await asyncio.wait((asking, self._exit), return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    asking.cancel()
                    break
                writer.write(asking.result())
            writer.close()

        self._server = await asyncio.start_unix_server(handle, str(folder / "io" / "http.sock"))

    def hang_up(self) -> None:
        """Break connections, and stay."""
        for writer in self._writers:
            writer.transport.abort()

    def end(self, end: Exit) -> None:
        """Go, as a process that exits does: connections break."""
        if self._server:
            self._server.close()
        self.hang_up()
        if not self._exit.done():
            self._exit.set_result(end)

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def seal(self) -> None: ...

    async def rest(self) -> None:
        self.rested = True

    async def specialise(self, task: Serve) -> dict[str, str]:
        if self.error is not None:
            raise self.error
        self.specialised.append(task)
        return task.environment

    async def run(self, command: str, seconds: float, output: Sink) -> Exit:
        output(command.encode())
        return Exit(0)

    async def kill(self) -> None:
        self.killed = True
        self.end(self.last)


class FakeDriver:
    """Counts what it starts; `fault` is raised instead, `start_seconds` is how long starting takes.

    `idle` says whether it starts idle servers, `announces` whether servers tell how many requests they take.
    """

    name = "fake"

    def __init__(self, answer: Answer = hello, *, concurrency: int = 100) -> None:
        self.started: list[FakeSandbox] = []
        self.answer = answer
        self.concurrency = concurrency
        self.start_seconds = 0.0
        self.fault: Exception | None = None
        self.idle = self.announces = False

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def prepare(self, runtime: str) -> None: ...

    async def served(self) -> list[str]:
        return ["fake-1"]

    idle_limits = Limits(cpus=1, memory_mb=512)

    def idles(self, _: str, limits: Limits) -> bool:
        return self.idle

    def enforced(self) -> dict[str, str]:
        return {}

    async def serve(self, task: Serve, output: Sink) -> Sandbox:
        await asyncio.sleep(self.start_seconds)
        return await started(self._start(task, output))

    async def _start(self, task: Serve, output: Sink) -> FakeSandbox:
        if self.fault is not None:
            raise self.fault
        sandbox = FakeSandbox(task.folder, self.concurrency)
        sandbox.announces, sandbox.code = self.announces, task.code
        self.started.append(sandbox)
        await sandbox.listen(task.folder, self.answer)
        output(b"starting\n" + STARTED + b"\n")
        return sandbox

    async def construct(self, task: Construct, output: Sink) -> Sandbox:
        raise NotImplementedError


class FakeCode:
    """Every artefact is the same empty folder; counts who holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.users = 0
        self.dropped: list[str] = []

    async def take(self, _: Artefact) -> Path:
        self.users += 1
        return self.folder

    def release(self, _: str) -> None:
        self.users -= 1

    async def drop(self, digest: str) -> None:
        self.dropped.append(digest)


class Host:
    """A pool and runner on a fake driver."""

    def __init__(self, folder: Path) -> None:
        self.driver = FakeDriver()
        self.code = FakeCode(folder)
        self.config = ExecutorConfig(
            data=folder, work=folder, blobs_url="", listen="unix:/none", idle_seconds=60, grace_seconds=0.2, instances=4
        )
        self.spools = Spools(Blobs.open(folder / "blobs"), folder, self.config.log_limit_bytes)
        self.pool = Pool(self.config, self.driver, self.code)  # type: ignore[arg-type]
        self.runner = Runner(self.config, self.pool, "host", self.spools)

    async def remake(self, **changes: object) -> None:
        """The same host with another configuration."""
        await self.pool.close()
        self.config = msgspec.structs.replace(self.config, **changes)
        self.pool = Pool(self.config, self.driver, self.code)  # type: ignore[arg-type]
        self.runner = Runner(self.config, self.pool, "host", self.spools)
        self.pool.open()

    async def call(self, **changes: object) -> Outcome:
        async with asyncio.timeout(60):
            return await self.runner.execute(run(**changes))


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    with TemporaryDirectory(prefix="pl-", dir="/tmp") as folder:
        made = Host(Path(folder))
        made.pool.open()
        yield made
        await made.pool.close()
        assert made.code.users == 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


class WorkerLimiter:
    """Answers only when told; counts those that wait."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0

    async def answer(self, head: bytes) -> bytes:
        self.waiting += 1
        await self.go.wait()
        self.waiting -= 1
        return await hello(head)
