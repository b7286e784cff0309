"""Serves the executor's port. When a caller disconnects, its work is cancelled: the control plane counts it as lost.

A job with a higher epoch replaces a running one of the same name; a cancellation finds jobs by name.
"""

import asyncio
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from annals.domain.ports import BuildOutcome, Outcome, Run
from annals.executor.builds.builder import Builder
from annals.executor.config import ExecutorConfig
from annals.executor.errors import EngineAway, SandboxLost
from annals.executor.pool.pool import Pool
from annals.executor.pool.runner import CANCELED, Runner
from annals.executor.wire.protocol import (
    VERSION,
    FrameKind,
    Frames,
    Status,
    decode_build,
    decode_prewarm,
    decode_run,
    decode_subject,
    encode,
    parse_address,
    tls_context,
)

T = TypeVar("T")
Name = tuple[str, str]


class Superseded(Exception):
    """The request's epoch is not higher than that of the running job."""


class Canceled(Exception):
    """The job was cancelled on request, or by a job with a higher epoch."""


class _Job(Generic[T]):
    def __init__(self, epoch: int, task: "asyncio.Task[T]") -> None:
        self.epoch = epoch
        self.task = task
        self.canceled = False


class RunningJobs(Generic[T]):
    """Jobs by project and id. One job of each name runs at a time."""

    def __init__(self) -> None:
        self._jobs: dict[Name, _Job[T]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    async def run(self, name: Name, epoch: int, work: Coroutine[Any, Any, T]) -> T:
        """Run work under a name. Raises Superseded or Canceled. Cancelling the caller cancels the work first."""
        other = self._jobs.get(name)
        if other is not None:
            if other.epoch >= epoch:
                work.close()
                raise Superseded
            await self.cancel(name)
        job = self._jobs[name] = _Job(epoch, asyncio.create_task(work))
        try:
            return await job.task
        except asyncio.CancelledError:
            if not job.task.done():
                job.task.cancel()
                await asyncio.wait((job.task,))
            if job.canceled:
                raise Canceled from None
            raise
        finally:
            if self._jobs.get(name) is job:
                del self._jobs[name]

    async def cancel(self, name: Name) -> bool:
        """Cancel the job of a name and wait for its end; return True if there was one."""
        job = self._jobs.get(name)
        if job is None:
            return False
        job.canceled = True
        job.task.cancel()
        await asyncio.wait((job.task,))
        return True


log = structlog.get_logger()

DRAIN_SECONDS = 3.0
"""How long running executions may continue after the executor was asked to stop."""

STOPPING = "The executor is stopping."
SUPERSEDED = "A newer claim has taken it over."


def _bound(path: Path) -> socket.socket:
    """Return a listening socket that only its owner can reach; it replaces one of an earlier process."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    path.chmod(0o600)
    return sock


class _Caller:
    """One connection: whether it has sent its version, and its running requests."""

    def __init__(self) -> None:
        self.greeted = False
        self.tasks: dict[int, asyncio.Task[None]] = {}


class ExecutorServer:
    """The port of one executor: a unix socket that only its owner can reach, or TCP with mutual TLS."""

    def __init__(
        self,
        config: ExecutorConfig,
        *,
        runner: Runner,
        builder: Builder,
        pool: Pool,
        status: Callable[[dict[str, int]], Awaitable[Status]],
    ) -> None:
        self._config = config
        self._runner = runner
        self._builder = builder
        self._pool = pool
        self._status = status
        self._executions: RunningJobs[Outcome] = RunningJobs()
        self._builds: RunningJobs[BuildOutcome] = RunningJobs()
        self._callers: dict[Frames, _Caller] = {}
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._answers: dict[int, Callable[[Frames, int, bytes], Coroutine[Any, Any, None]]] = {
            FrameKind.EXECUTE: self._execute,
            FrameKind.BUILD: self._build,
            FrameKind.CANCEL_BUILD: partial(self._cancel, self._builds),
            FrameKind.CANCEL_EXECUTION: partial(self._cancel, self._executions),
            FrameKind.OUTPUT: self._output,
            FrameKind.PREWARM: self._prewarm,
            FrameKind.RETIRE: self._retire,
            FrameKind.STATUS: self._send_status,
        }

    async def open(self) -> str:
        """Listen; return the address, with the real port if the configured one is 0."""
        self._stopping = False
        loop = asyncio.get_running_loop()
        address = parse_address(self._config.listen)
        if address.path:
            self._server = await loop.create_unix_server(self._accept, sock=_bound(Path(address.path)), backlog=512)
            return self._config.listen
        if self._config.tls is None:
            raise ValueError("An executor listens on TCP only with mutual TLS: set its certificate, key and authority.")
        context = tls_context(self._config.tls, server=True)
        self._server = await loop.create_server(self._accept, address.host, address.port, ssl=context)
        port = self._server.sockets[0].getsockname()[1]
        return f"tcp:{address.host}:{port}"

    async def close(self) -> None:
        """Reject new work, wait a moment for executions, cancel the rest, and disconnect all callers."""
        self._stopping = True
        if self._server:
            self._server.close()
        deadline = time.monotonic() + DRAIN_SECONDS
        while len(self._executions) and time.monotonic() < deadline:  # noqa: ASYNC110 (there is no event for their end)
            await asyncio.sleep(0.02)
        tasks = [task for caller in self._callers.values() for task in caller.tasks.values()]
        for frames in tuple(self._callers):
            frames.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if path := parse_address(self._config.listen).path:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def _accept(self) -> Frames:
        frames = Frames(self._received, self._lost)
        self._callers[frames] = _Caller()
        return frames

    def _lost(self, frames: Frames) -> None:
        for task in self._callers.pop(frames).tasks.values():
            task.cancel()

    def _received(self, frames: Frames, kind: int, number: int, payload: bytes) -> None:
        caller = self._callers.get(frames)
        if caller is None:
            return
        if not caller.greeted:
            if kind != FrameKind.HELLO or payload != encode(VERSION):
                frames.send(FrameKind.FAULT, number, encode(f"This executor speaks version {VERSION} of its protocol."))
                frames.close()
                return
            caller.greeted = True
            frames.send(FrameKind.RESULT, number, payload)
        elif kind == FrameKind.PING:
            frames.send(FrameKind.RESULT, number)
        elif kind == FrameKind.WITHDRAW:
            if task := caller.tasks.get(number):
                task.cancel()
        elif self._stopping and kind in (FrameKind.EXECUTE, FrameKind.BUILD):
            frames.send(FrameKind.NOT_BEGUN, number, encode(STOPPING))
        elif answer := self._answers.get(kind):
            task = asyncio.create_task(self._guarded(answer, frames, number, payload))
            caller.tasks[number] = task
            task.add_done_callback(lambda _: caller.tasks.pop(number, None))
        else:
            frames.send(FrameKind.FAULT, number, encode("This executor does not know that request."))

    @staticmethod
    async def _guarded(
        answer: Callable[[Frames, int, bytes], Coroutine[Any, Any, None]], frames: Frames, number: int, payload: bytes
    ) -> None:
        try:
            await answer(frames, number, payload)
        except msgspec.DecodeError as unreadable:
            frames.send(FrameKind.FAULT, number, encode(f"The request cannot be read: {unreadable}"))
        except EngineAway as away:
            frames.send(FrameKind.NOT_BEGUN, number, encode(str(away)))
        except SandboxLost as lost:
            log.warning("executor.sandbox_lost", message=str(lost))
            frames.send(FrameKind.FAULT, number, encode(str(lost)))
        except Exception:
            log.exception("executor.fault")
            frames.send(FrameKind.FAULT, number, encode("The executor failed; its log says why."))

    async def _execute(self, frames: Frames, number: int, payload: bytes) -> None:
        run = decode_run(payload)
        frames.send(FrameKind.RESULT, number, encode(await self._outcome(run)))

    async def _outcome(self, run: Run) -> Outcome:
        try:
            return await self._executions.run((run.project, run.execution), run.epoch, self._runner.execute(run))
        except Canceled:
            return Outcome(status_code=500, reason="canceled", message=CANCELED)
        except Superseded:
            return Outcome(status_code=500, reason="canceled", message=SUPERSEDED)

    async def _build(self, frames: Frames, number: int, payload: bytes) -> None:
        job = decode_build(payload)

        async def sink(text: str) -> None:
            frames.send(FrameKind.LOG, number, encode(text))
            await frames.writable.wait()

        try:
            name = (job.project, job.deployment)
            outcome = await self._builds.run(name, job.epoch, self._builder.build(job, sink))
        except Canceled:
            outcome = BuildOutcome(reason="canceled", message=CANCELED)
        except Superseded:
            outcome = BuildOutcome(reason="canceled", message=SUPERSEDED)
        if outcome.artefact is not None:
            self._pool.expect(job.runtime)
        frames.send(FrameKind.RESULT, number, encode(outcome))

    @staticmethod
    async def _cancel(jobs: RunningJobs[Any], frames: Frames, number: int, payload: bytes) -> None:
        subject = decode_subject(payload)
        found = await jobs.cancel((subject.project, subject.id))
        frames.send(FrameKind.RESULT, number, encode(found))

    async def _output(self, frames: Frames, number: int, payload: bytes) -> None:
        subject = decode_subject(payload)
        frames.send(FrameKind.RESULT, number, encode(self._runner.output(subject.project, subject.id)))

    async def _prewarm(self, frames: Frames, number: int, payload: bytes) -> None:
        wish = decode_prewarm(payload)
        frames.send(FrameKind.RESULT, number, encode(self._pool.prewarm(wish.run, wish.instances, wish.seconds)))

    async def _retire(self, frames: Frames, number: int, payload: bytes) -> None:
        subject = decode_subject(payload)
        await self._pool.retire_deployment(subject.project, subject.id)
        frames.send(FrameKind.RESULT, number, encode(None))

    async def _send_status(self, frames: Frames, number: int, _: bytes) -> None:
        work = {"executions": len(self._executions), "builds": len(self._builds), **self._pool.describe()}
        work["queued"] = self._runner.waiting
        frames.send(FrameKind.RESULT, number, encode(await self._status(work)))
