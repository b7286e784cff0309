"""One container of the docker driver: reads its output, waits for its end, and kills it."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from annals.executor.drivers import attach_code, layout
from annals.executor.drivers.engine import engine_failures
from annals.executor.drivers.port import Exit, Serve, Sink, TcpAddress, UnixAddress
from annals.executor.errors import StartFailed
from annals.executor.isolation.disk import OpenFileUsage, open_file_usage, written
from annals.executor.isolation.limits import processes
from annals.executor.logs.throttle import printed

if TYPE_CHECKING:
    from docker.models.containers import Container

KILL_AGAIN_SECONDS = 1.0
LOST = "Its container was removed, or its engine does not answer."
KILLED = 128 + 9


class ContainerSandbox:
    """A started container. One thread reads its output until it ends."""

    def __init__(
        self,
        container: "Container",
        output: Iterable[bytes],
        *,
        threads: Executor,
        sink: Sink,
        address: UnixAddress | TcpAddress | None,
        log_files: Path | None,
        concurrency: int,
        announces: bool,
        done: Callable[[], None],
        layered: bool = False,
    ) -> None:
        """`layered` says that the container can write to its own layer."""
        self.address = address
        self.log_files = log_files
        self.concurrency = concurrency
        self.announces = announces
        self.removed = False
        self._container = container
        self._threads = threads
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._layered = layered
        self._breach = ""
        self._ran = False
        self._first: int | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._exit = asyncio.ensure_future(self._loop.run_in_executor(threads, self._follow, output))
        self._exit.add_done_callback(lambda _: done())

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def seal(self) -> None:
        if isinstance(self.address, UnixAddress) and os.geteuid() == 0:
            await asyncio.to_thread(_take_back, self.address.folder)

    async def rest(self) -> None:
        """Pause the container: it runs no code until it is specialised."""
        await self._loop.run_in_executor(self._threads, self._halt)

    async def specialise(self, task: Serve) -> dict[str, str]:
        if task.code is None:
            raise StartFailed("An idle instance cannot be specialised without code.")
        try:
            await self._loop.run_in_executor(self._threads, attach_code.link, task.code, task.folder / layout.SLOT)
        except OSError as refused:
            raise StartFailed(f"The code could not be shown to an idle instance: {refused}.") from refused
        await self._loop.run_in_executor(self._threads, self._resume)
        return {**layout.DEFAULTS, **task.environment}

    def _halt(self) -> None:
        try:
            self._container.pause()
        except engine_failures() as refused:
            raise StartFailed(f"An idle container could not be paused: {refused}") from refused

    def _resume(self) -> None:
        try:
            self._container.unpause()
        except engine_failures() as refused:
            raise StartFailed(f"An idle container could not be resumed: {refused}") from refused

    async def run(self, command: str, seconds: float, output: Sink) -> Exit:
        self._ran = True
        async with self._turn:
            began = time.monotonic()
            code = await self._loop.run_in_executor(self._threads, self._run, command, seconds, output)
        if code == KILLED and time.monotonic() - began >= seconds:
            raise TimeoutError
        return Exit(code)

    def _run(self, command: str, seconds: float, output: Sink) -> int:
        """Run a command and return its exit code. Blocking; `timeout` inside the container limits the time."""
        engine = self._container.client.api  # type: ignore[union-attr]
        words = ["timeout", "-s", "KILL", f"{seconds:g}", "bash", "-c", command]
        try:
            made = engine.exec_create(self._container.id, words, tty=True)
            self._hand_on(engine.exec_start(made["Id"], tty=True, stream=True), output)
            code = engine.exec_inspect(made["Id"])["ExitCode"]
        except engine_failures() as gone:
            raise StartFailed(f"The container takes no commands: {gone}") from gone
        return KILLED if code is None else int(code)

    def _hand_on(self, pieces: Iterable[bytes], sink: Sink) -> None:
        """Pass output on at a limited rate. Blocking; a faster writer blocks too."""
        throttle = printed()
        for piece in pieces:
            self._loop.call_soon_threadsafe(sink, piece)
            if wait := throttle.read(len(piece)):
                time.sleep(wait)

    def guard(self, watchdog: asyncio.Task[None]) -> None:
        """Cancel this watchdog when the container ends."""
        self._watchdog = watchdog
        self._exit.add_done_callback(lambda _: watchdog.cancel())

    async def breached(self) -> None:
        """Kill the container because it uses too much disk."""
        self._breach = "disk"
        await self.kill()

    def open_file_usage(self) -> OpenFileUsage:
        """Return the disk use beside the task's folder; only the layer if this host does not show the processes."""
        held = open_file_usage(self._processes())
        if not self._layered:
            return held
        engine = self._container.client.api  # type: ignore[union-attr]
        layers = engine.containers(size=True, filters={"id": [self._container.id]})
        return OpenFileUsage(held.occupied + sum(layer.get("SizeRw") or 0 for layer in layers), held.whole)

    def written(self) -> int:
        return written(self._processes())

    def defer(self, *, deferred: bool) -> None:
        """Do nothing: the engine's API offers weights only, which were measured to be no help (ADR 0043)."""

    async def pause(self) -> None:
        await self._loop.run_in_executor(self._threads, self._halt)

    async def resume(self) -> None:
        if not self._exit.done():
            await self._loop.run_in_executor(self._threads, self._resume)

    def _processes(self) -> list[int]:
        """Return the processes of the container, including those of commands."""
        from docker.errors import APIError  # noqa: PLC0415 heavy, and only where docker is used

        if self._ran or self._first is None:
            try:
                listed = self._container.top()
            except APIError as ended:
                if ended.is_client_error():
                    return []
                raise
            column = listed["Titles"].index("PID")
            found = [int(row[column]) for row in listed["Processes"] or []]
            found = [process for process in found if self._is_own(process)]
            self._first = min(found, default=0)
            return found
        return [process for process in processes(self._first) if self._is_own(process)] if self._first else []

    def _is_own(self, process: int) -> bool:
        try:
            with open(f"/proc/{process}/cgroup", encoding="utf-8", errors="replace") as file:
                return str(self._container.id) in file.read()
        except OSError:
            return False

    async def kill(self) -> None:
        """Kill the container and wait for its end; repeat while the engine does not answer."""
        while not self._exit.done():
            if await self._loop.run_in_executor(self._threads, self._kill):
                break
            await asyncio.wait((self._exit,), timeout=KILL_AGAIN_SECONDS)
        await self.wait()

    def _kill(self) -> bool:
        from docker.errors import APIError  # noqa: PLC0415 heavy, and only where docker is used

        try:
            self._container.kill()
        except APIError as refused:
            return refused.is_client_error()  # it has ended already
        except engine_failures():
            return False
        return True

    def _follow(self, output: Iterable[bytes]) -> Exit:
        """Pass output on until the container ends, then remove it; return how it ended. Blocking."""
        from docker.errors import NotFound  # noqa: PLC0415 heavy, and only where docker is used

        try:
            self._hand_on(output, self._sink)
            code = int(self._container.wait()["StatusCode"])
            self._container.reload()
            end = Exit(code, bool(self._container.attrs["State"].get("OOMKilled")), self._breach)
        except engine_failures():
            end = Exit(255, lost=LOST)
        try:
            self._container.remove(force=True, v=True)
            self.removed = True
        except NotFound:
            self.removed = True
        except engine_failures():
            self.removed = False
        return end


def _take_back(folder: Path) -> None:
    """Allow the container only to enter its folder of sockets, which is on the host's disk."""
    folder.chmod(0o711)
    os.chown(folder, 0, 0)
