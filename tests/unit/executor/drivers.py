"""A driver for tests of pool and runner: instances are servers in this process, with configurable faults."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from annals.domain.ports import Artefact, Limits, Run
from annals.executor.drivers.port import Construct, Exit, Sandbox, Serve, Sink, TcpAddress, UnixAddress, started
from annals.executor.isolation.disk import OpenFileUsage
from annals.executor.logs.excerpt import STARTED

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
