"""The client of the executor's port. All requests to one host share one connection.

Error messages reach owners of functions, so addresses and system errors go only to the log.
"""

import asyncio
import hashlib
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from annals.domain.ports import (
    Build,
    BuildOutcome,
    ExecutorUnavailable,
    ExecutorUnreachable,
    LogSink,
    Outcome,
    Output,
    Run,
)
from annals.executor.config import Tls
from annals.executor.errors import ExecutorMissing
from annals.executor.wire.protocol import (
    VERSION,
    FrameKind,
    Frames,
    Prewarm,
    Status,
    WorkSubject,
    encode,
    parse_address,
    tls_context,
)

CONNECT_SECONDS = 2.0
REFUSED_SECONDS = 0.2
"""After a failed connection, further requests to the host fail at once for this time, instead of waiting as well."""

SILENCE_SECONDS = 10.0
"""A host that owes responses and sends no bytes for this time counts as hung."""

AWAY = "The executor cannot be reached."
_BEATS = 4
_NO_CALL = 0

_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode
_decode_build_outcome = msgspec.msgpack.Decoder(BuildOutcome).decode
_decode_status = msgspec.msgpack.Decoder(Status).decode
_decode_any = msgspec.msgpack.Decoder().decode

log = structlog.get_logger(__name__)


class _Call:
    """One request in flight: its response, and the receiver of log text."""

    def __init__(self, text: Callable[[str], None] | None) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.text = text


class _Link:
    """The connection to one host; opened when it is needed, and opened again after it was lost."""

    def __init__(self, url: str, tls: Tls | None, silence_seconds: float) -> None:
        self.url = url
        self._address = parse_address(url)
        self._tls = tls
        self._beat_seconds = silence_seconds / _BEATS
        self._watching: asyncio.Task[None] | None = None
        self._frames: Frames | None = None
        self._calls: dict[int, _Call] = {}
        self._numbers = itertools.count(1)
        self._connecting = asyncio.Lock()
        self._refuse_until = 0.0
        self._fault = ""

    async def request(self, kind: FrameKind, payload: bytes, text: Callable[[str], None] | None = None) -> bytes:
        """Send a request and return its response; cancelling withdraws it. Raises ExecutorUnavailable."""
        frames = self._frames
        if frames is None or not frames.open:
            frames = await self._connect()
        return await self._ask(frames, kind, payload, text)

    async def reachable(self) -> bool:
        """Return True if the host is connected, or can be."""
        if self._frames is not None and self._frames.open:
            return True
        try:
            await self._connect()
        except ExecutorUnavailable:
            return False
        return True

    async def _ask(self, frames: Frames, kind: FrameKind, payload: bytes, text: Callable[[str], None] | None) -> bytes:
        number = next(self._numbers)
        call = self._calls[number] = _Call(text)
        frames.send(kind, number, payload)
        try:
            return await call.answer
        except asyncio.CancelledError:
            frames.send(FrameKind.WITHDRAW, number)
            raise
        finally:
            del self._calls[number]

    async def _connect(self) -> Frames:
        async with self._connecting:
            if self._frames is not None and self._frames.open:
                return self._frames
            if time.monotonic() < self._refuse_until:
                raise ExecutorUnreachable(AWAY)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    frames = await self._dial()
                    await self._ask(frames, FrameKind.HELLO, encode(VERSION), None)
            except (OSError, TimeoutError, ExecutorUnavailable) as failure:
                self._refuse_until = time.monotonic() + REFUSED_SECONDS
                self._note(str(failure) or "It gave no answer.")
                raise ExecutorUnreachable(AWAY) from failure
            self._frames, self._fault = frames, ""
            self._watching = asyncio.create_task(self._watch(frames))
            return frames

    def _note(self, fault: str) -> None:
        """Log why the host cannot be reached, once until the reason changes."""
        if fault != self._fault:
            self._fault = fault
            log.warning("executor_away", address=self.url, error=fault)

    async def _watch(self, frames: Frames) -> None:
        """Disconnect from a host that owes responses but shows no activity: it is stopped, stuck or unreachable.

        Beats are counted instead of time, because this process may have been stopped itself. If the host still accepts
        bytes from us, that counts as activity.
        """
        silent = 0
        while frames.open:
            if self._calls:
                frames.send(FrameKind.PING, _NO_CALL)
            heard, unsent, asked = frames.heard, frames.unsent, bool(self._calls)
            await asyncio.sleep(self._beat_seconds)
            silent = silent + 1 if asked and frames.heard == heard and frames.unsent >= unsent else 0
            if silent >= _BEATS:
                log.warning("executor_silent", address=self.url, calls=len(self._calls))
                frames.abort()
                return

    async def _dial(self) -> Frames:
        loop = asyncio.get_running_loop()
        if self._address.path:
            _, frames = await loop.create_unix_connection(self._made, self._address.path)
            return frames
        if self._tls is None:
            raise ExecutorUnavailable("It is reached over mutual TLS: set its certificates.")
        context = tls_context(self._tls, server=False)
        _, frames = await loop.create_connection(self._made, self._address.host, self._address.port, ssl=context)
        return frames

    def _made(self) -> Frames:
        return Frames(self._received, self._lost)

    def _received(self, _: Frames, kind: int, number: int, payload: bytes) -> None:
        call = self._calls.get(number)
        if call is None or call.answer.done():
            return
        if kind == FrameKind.RESULT:
            call.answer.set_result(payload)
        elif kind == FrameKind.LOG and call.text is not None:
            call.text(str(_decode_any(payload)))
        elif kind == FrameKind.NOT_BEGUN:  # an executor of an earlier version sends no reason
            why = str(_decode_any(payload)) if payload else "It is stopping."
            call.answer.set_exception(ExecutorUnreachable(f"The executor cannot begin it: {why}"))
        elif kind == FrameKind.FAULT:
            call.answer.set_exception(ExecutorUnavailable(str(_decode_any(payload))))

    def _lost(self, frames: Frames) -> None:
        if self._frames is frames:
            self._frames = None
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(ExecutorUnavailable("The connection to the executor was lost."))

    def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if self._frames is not None:
            self._frames.close()


class ExecutorClient:
    """Implements `ports.Executor` with one or several executors.

    Rendezvous hashing selects the host of a deployment, so that its calls find warm instances. If that host cannot be
    reached, the next one is used. Belongs to one event loop.
    """

    def __init__(
        self, urls: Sequence[str], tls: Tls | None = None, *, silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        """After `silence_seconds` without activity, a host's requests fail with ExecutorUnavailable."""
        if not urls:
            raise ExecutorMissing
        self._links = [_Link(url, tls, silence_seconds) for url in urls]

    async def close(self) -> None:
        for link in self._links:
            link.close()

    async def execute(self, run: Run) -> Outcome:
        return _decode_outcome(await self._placed(run.deployment, FrameKind.EXECUTE, encode(run)))

    async def build(self, job: Build, log: LogSink) -> BuildOutcome:
        texts: asyncio.Queue[str | None] = asyncio.Queue()

        async def forward() -> None:
            while (text := await texts.get()) is not None:
                await log(text)

        forwarding = asyncio.create_task(forward())
        try:
            answer = await self._placed(job.deployment, FrameKind.BUILD, encode(job), texts.put_nowait)
            texts.put_nowait(None)
            await forwarding
        finally:
            forwarding.cancel()
        return _decode_build_outcome(answer)

    async def cancel_build(self, project: str, deployment: str) -> bool:
        return any(await self._everywhere(FrameKind.CANCEL_BUILD, WorkSubject(project, deployment)))

    async def cancel_execution(self, project: str, execution: str) -> bool:
        return any(await self._everywhere(FrameKind.CANCEL_EXECUTION, WorkSubject(project, execution)))

    async def output(self, project: str, execution: str) -> Output | None:
        found = [each for each in await self._everywhere(FrameKind.OUTPUT, WorkSubject(project, execution)) if each]
        return msgspec.convert(found[0], Output) if found else None

    async def retire(self, project: str, deployment: str) -> None:
        await self._everywhere(FrameKind.RETIRE, WorkSubject(project, deployment))

    async def prewarm(self, run: Run, instances: int, seconds: float) -> int:
        answer = await self._placed(run.deployment, FrameKind.PREWARM, encode(Prewarm(run, instances, seconds)))
        return int(_decode_any(answer))

    async def status(self) -> dict[str, Status | str]:
        """Return each host's status by address, or a sentence if it cannot be reached."""

        async def ask(link: _Link) -> Status | str:
            try:
                return _decode_status(await link.request(FrameKind.STATUS, b""))
            except ExecutorUnavailable as failure:
                return str(failure)

        return dict(zip([link.url for link in self._links], await asyncio.gather(*map(ask, self._links)), strict=True))

    async def _placed(
        self, deployment: str, kind: FrameKind, payload: bytes, text: Callable[[str], None] | None = None
    ) -> bytes:
        if len(self._links) == 1:
            return await self._links[0].request(kind, payload, text)
        *others, last = self._ranked(deployment)
        for link in others:
            if await link.reachable():
                return await link.request(kind, payload, text)
        return await last.request(kind, payload, text)

    def _ranked(self, deployment: str) -> list[_Link]:
        return sorted(self._links, key=lambda link: rank(link.url, deployment), reverse=True)

    async def _everywhere(self, kind: FrameKind, subject: WorkSubject) -> list[Any]:
        """Send a request to every host that can be reached. Raises ExecutorUnavailable if there is none."""
        answers = await asyncio.gather(
            *(link.request(kind, encode(subject)) for link in self._links), return_exceptions=True
        )
        reached = [_decode_any(answer) for answer in answers if isinstance(answer, bytes)]
        if not reached:
            raise ExecutorUnavailable("No executor can be reached.")
        return reached


def rank(url: str, deployment: str) -> bytes:
    """Return a host's rank for a deployment in rendezvous hashing; the highest rank wins."""
    return hashlib.blake2b(f"{url}\0{deployment}".encode(), digest_size=8).digest()
