"""One sandboxed process tree of the sandbox driver: reads its output, waits for its end, and kills it."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from annals.executor.drivers.descriptors import OutputReader
from annals.executor.drivers.port import Exit, Serve, Sink, TcpAddress, UnixAddress
from annals.executor.drivers.sandbox_agent import SandboxAgent
from annals.executor.errors import StartFailed
from annals.executor.isolation.cgroups import ControlGroup
from annals.executor.isolation.disk import OpenFileUsage, open_file_usage, written
from annals.executor.isolation.limits import processes

HALT_LOOKS = 200
HALT_SECONDS = 0.001
STRAGGLE_SECONDS = 1.0


class ProcessSandbox:
    """A bubblewrap process and its descendants. Belongs to the event loop that creates it."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        *,
        alive: int,
        output: int,
        sink: Sink,
        address: UnixAddress | None,
        concurrency: int,
        announces: bool,
        group: ControlGroup | None,
        done: Callable[[], None],
        specialise: Callable[[Serve], Awaitable[dict[str, str]]] | None = None,
        sandbox_agent: SandboxAgent | None = None,
    ) -> None:
        self.address: UnixAddress | TcpAddress | None = address
        self.log_files: Path | None = None
        self.concurrency = concurrency
        self.announces = announces
        self.pid = process.pid
        self._process = process
        self._group = group
        self._done = done
        self._specialise = specialise
        self._sandbox_agent = sandbox_agent
        self._breach = ""
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._watchdog: asyncio.Task[None] | None = None
        pidfd = os.pidfd_open(process.pid)
        self._open = {output, alive, pidfd}
        OutputReader(output, sink, lambda: self._ended(output))
        for fd in (alive, pidfd):
            self._loop.add_reader(fd, self._gone, fd)
        if sandbox_agent is not None:
            sandbox_agent.open()

    def guard(self, watchdog: asyncio.Task[None]) -> None:
        """Cancel this watchdog when the sandbox ends; it replaces an earlier one."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = watchdog

    def breached(self, limit: str) -> None:
        """Kill the sandbox because it exceeded a limit that only a watchdog enforces."""
        self._breach = limit
        kill_tree(self.pid)

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def seal(self) -> None:
        """Do nothing: it inherited its socket, and never had a writable folder."""

    async def rest(self) -> None:
        """Do nothing: a server that waits for a request uses no processor time."""

    async def specialise(self, task: Serve) -> dict[str, str]:
        if self._specialise is None or self._process.poll() is not None:
            raise StartFailed("The instance cannot be specialised.")
        variables = await self._specialise(task)
        if self._group is not None:
            await asyncio.to_thread(self._group.bound, task.limits)
        return variables

    async def run(self, command: str, seconds: float, output: Sink) -> Exit:
        if self._sandbox_agent is None:
            raise StartFailed("The instance takes no commands.")
        code = await self._sandbox_agent.run(command, seconds, output)
        return await self.wait() if code is None else Exit(code)

    def open_file_usage(self) -> OpenFileUsage:
        return open_file_usage(processes(self.pid))

    def written(self) -> int:
        return written(processes(self.pid))

    def defer(self, *, deferred: bool) -> None:
        if self._group is not None:
            self._group.defer(deferred=deferred)

    async def pause(self) -> None:
        await asyncio.to_thread(self._signal, signal.SIGSTOP)

    async def resume(self) -> None:
        await asyncio.to_thread(self._signal, signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """Signal all processes. Parents stop before their children and continue after them, so none sees a stop."""
        found = [] if self._process.poll() is not None else list(processes(self.pid))
        for process in found if number is signal.SIGSTOP else reversed(found):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    async def kill(self) -> None:
        if self._process.returncode is None:
            await asyncio.to_thread(kill_tree, self.pid)
        await asyncio.wait((self._exit,), timeout=STRAGGLE_SECONDS)
        if self._group is not None and not self._exit.done():
            await asyncio.to_thread(self._group.kill)
        await self.wait()

    def _gone(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        os.close(fd)
        self._ended(fd)

    def _ended(self, fd: int) -> None:
        self._open.discard(fd)
        if not self._open:
            self._finish()

    def _finish(self) -> None:
        """Record the end: the first process, the last process and the output have ended."""
        code = self._process.wait()
        starved = self._breach == "memory" or (self._group is not None and self._group.out_of_memory())
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._sandbox_agent is not None:
            self._sandbox_agent.close()
        if self._group is not None:
            with suppress(RuntimeError):  # at exit the loop has no threads any more; the next start removes the group
                self._loop.run_in_executor(None, self._group.remove)
        self._done()
        self._exit.set_result(Exit(code, starved, self._breach))


def kill_tree(pid: int) -> None:
    """Kill bubblewrap and its child; the kernel then kills all other processes of the sandbox.

    The child asks the kernel to die with its parent, but only a moment after it was forked. If only the parent were
    killed in that moment, the sandbox would continue. So the parent is stopped first: then it cannot fork.
    """
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        for _ in range(HALT_LOOKS):
            if _state(pid) not in "RSD":
                break
            time.sleep(HALT_SECONDS)
        for found in reversed(list(processes(pid))):
            with suppress(ProcessLookupError):
                os.kill(found, signal.SIGKILL)


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
