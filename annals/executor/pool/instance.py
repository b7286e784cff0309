"""One function server: starts it, sends requests to it, and ends it for a reason."""

import asyncio
import base64
import json
import math
import os
import secrets
import signal
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from annals.domain.ports import Limits, Run
from annals.executor.drivers.layout import FUNCTION
from annals.executor.drivers.port import Driver, Exit, Sandbox, Serve, Sink
from annals.executor.errors import StartFailed
from annals.executor.isolation.trash import Trash
from annals.executor.logs.channel import InstanceLogs, LogChannel, LogFiles
from annals.executor.logs.excerpt import Tail
from annals.executor.pool.http_client import HOP_BY_HOP, FunctionResponse, InstanceEndpoint, request_head

SIGNALLED = 128
CONTROL = "x-open-runtimes-"
CONCURRENCY = f"{CONTROL}concurrency"
INTERIM_STATUS = f"{CONTROL}status"
"""The header with a function's status below 200: as the real status, HTTP would announce another response."""

SPECIALISE = "/__annals/specialise"
DROPPED = frozenset(name.decode() for name in HOP_BY_HOP) | {"content-length", "expect", "host"}
TARGET_SAFE = "!#$%&'()*+,/:;=?@[]-._~\"<>\\^`{|}"


class Why(StrEnum):
    """Why an instance was retired: a sentence for the callers whose requests fail with it."""

    GONE = "Its deployment is gone."
    IDLE = "It was idle."
    NEEDED = "Its slot was needed."
    STOPPING = "The executor is stopping."
    BY_ITSELF = "It ended by itself."
    CANCELED = "Its execution was canceled."
    LATE = "An execution on it did not end at its deadline."
    BROKEN = "It broke a connection."


class Instance:
    """A running function server. It has one deployment and environment for life, or is idle until it gets them.

    `in_flight` counts requests, `used` is monotonic, `digest` names its unpacked code.
    """

    def __init__(self, folder: Path, body_limit: int, *, has_agent: bool = False) -> None:
        self.id = secrets.token_hex(8)
        self.digest = ""
        self.folder = folder / self.id
        self._trash = Trash(folder.parent)
        self.in_flight = 0
        self.concurrency = self._most = 1
        self.used = time.monotonic()
        self.superseded = False
        self.deferred = False
        self.retired: Why | None = None
        self.fault = ""
        """A sentence that says why it is being ended, if it wrote invalid bytes to its log socket."""
        self.exit: Exit | None = None
        self.tail = Tail()
        self._body_limit = body_limit
        self._has_agent = has_agent
        self.secret = secrets.token_hex(16)
        self._basic = "Basic " + base64.b64encode(f"opr:{self.secret}".encode()).decode()
        self._sandbox: Sandbox | None = None
        self._endpoint: InstanceEndpoint | None = None
        self._killing: asyncio.Task[None] | None = None
        self.logs: InstanceLogs = LogChannel()
        self.quiet = asyncio.Event()
        self.quiet.set()

    @property
    def free(self) -> bool:
        return not (self.retired or self.fault) and self.exit is None and self.in_flight < self.concurrency

    def enter(self) -> None:
        """Count one more request."""
        self.in_flight += 1
        self.quiet.clear()

    def leave(self) -> None:
        """Count one request less; `quiet` is set when none is left."""
        self.in_flight -= 1
        self.used = time.monotonic()
        if not self.in_flight:
            self.quiet.set()

    async def start(self, driver: Driver, run: Run, code: Path, seconds: float) -> None:
        """Start the server of a deployment. Raises StartFailed with its last lines, or RuntimeUnavailable."""
        await self._bring_up(driver, self._task(run, code), seconds)

    async def start_idle(self, driver: Driver, runtime: str, limits: Limits, seconds: float) -> None:
        """Start a server without a deployment. Raises as `start` does."""
        task = Serve(name=self.id, runtime=runtime, code=None, folder=self.folder, environment={}, limits=limits)
        sandbox = await self._bring_up(driver, task, seconds)
        await sandbox.rest()

    async def specialise(self, run: Run, code: Path) -> None:
        """Give an idle server its deployment, for life.

        Raises StartFailed, ConnectionBroken, ResponseTooLarge or OSError.
        """
        if self._sandbox is None:
            raise StartFailed("The instance was never started.")
        variables = await self._sandbox.specialise(self._task(run, code))
        body = json.dumps({"env": variables, "code": FUNCTION}).encode()
        head = request_head("POST", SPECIALISE, [("host", "localhost:3000")], len(body))
        answer = await self._exchange("POST", head, body)
        if answer.status != 200:
            raise StartFailed(f"An idle instance refused its deployment: {answer.body[:500].decode(errors='replace')}")

    def _task(self, run: Run, code: Path) -> Serve:
        return Serve(
            name=self.id,
            runtime=run.runtime,
            code=code,
            folder=self.folder,
            environment=environment(run, self.secret, self.id),
            limits=run.limits,
            has_agent=self._has_agent,
        )

    def defer(self, *, deferred: bool) -> None:
        """Give it only the processor time that no other process wants, or equal time again."""
        self.deferred = deferred
        if self._sandbox is not None:
            self._sandbox.defer(deferred=deferred)

    async def _bring_up(self, driver: Driver, task: Serve, seconds: float) -> Sandbox:
        sockets = self.folder / "io"
        await asyncio.to_thread(sockets.mkdir, parents=True, mode=0o700)
        channel = LogChannel(self._faulty)
        await channel.listen(sockets, "logs.sock")
        self.logs = channel
        sandbox = self._sandbox = await driver.serve(task, self.tail.add)
        if sandbox.address is None:
            raise StartFailed("The driver started a function server without an address.")
        if sandbox.log_files is not None:
            channel.close()
            self.logs = LogFiles(sandbox.log_files)
        self._most = sandbox.concurrency
        self.concurrency = 1 if sandbox.announces else sandbox.concurrency
        endpoint = self._endpoint = InstanceEndpoint(sandbox.address, self._body_limit)
        if self.fault:
            raise StartFailed(self.fault)
        await self._await_server(sandbox, seconds)
        if not endpoint.pin():
            raise StartFailed(self._with_output("The instance says that it listens, but it does not."))
        await sandbox.seal()
        return sandbox

    async def _await_server(self, sandbox: Sandbox, seconds: float) -> None:
        ending = asyncio.ensure_future(sandbox.wait())
        ready = asyncio.ensure_future(self.tail.started.wait())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait((ending, ready), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise StartFailed(self._with_output(f"The instance did not start within {seconds:g} seconds.")) from None
        finally:
            ready.cancel()
        if ending.done():
            raise StartFailed(self._with_output(self.fault or start_failure(ending.result())))

    def _faulty(self, fault: str) -> None:
        """Kill the instance because it wrote invalid bytes to its log socket."""
        self.fault = f"The instance was ended: {fault}"
        if self._sandbox is not None:
            self._killing = asyncio.create_task(self._sandbox.kill())

    def _with_output(self, sentence: str) -> str:
        printed = self.tail.text()
        return f"{sentence}\n{printed}" if printed else sentence

    async def ended(self) -> Exit:
        """Wait until the sandbox has ended."""
        if self._sandbox is None:
            return Exit(0)
        self.exit = await self._sandbox.wait()
        self.quiet.set()
        return self.exit

    async def stop(self) -> None:
        """Kill the sandbox and remove its folder."""
        if self.deferred:  # its end must not wait until the processors are idle
            self.defer(deferred=False)
        if self._sandbox is not None:
            await self._sandbox.kill()
        self.logs.close()
        if self._endpoint is not None:
            self._endpoint.close()
        await asyncio.to_thread(self._trash.remove, self.folder)

    async def call(self, run: Run, log_id: str) -> FunctionResponse:
        """Send one execution's request. Raises ConnectionBroken, ResponseTooLarge, OSError or ValueError."""
        head = request_head(run.method, target(run.path), self._headers(run, log_id), len(run.body))
        answer = await self._exchange(run.method, head, run.body)
        self._learn(answer)
        return _with_interim_status(answer)

    async def command(self, command: str, seconds: float, output: Sink) -> Exit:
        """Run a command beside its server. Raises StartFailed if it takes no commands, or TimeoutError."""
        if self._sandbox is None:
            raise StartFailed("The instance was never started.")
        return await self._sandbox.run(command, seconds, output)

    async def _exchange(self, method: str, head: bytes, body: bytes) -> FunctionResponse:
        if self._endpoint is None:
            raise StartFailed("The instance was never started.")
        connection = await self._endpoint.connect()
        try:
            return await connection.request(method, head, body)
        finally:
            self._endpoint.give_back(connection)

    def _learn(self, answer: FunctionResponse) -> None:
        """Read from a response how many requests the server takes at once; a failed one may not say it."""
        announced = next((value for name, value in answer.headers if name == CONCURRENCY), "")
        if announced.isascii() and announced.isdigit():
            self.concurrency = min(self._most, max(1, int(announced[:6])))
        elif answer.status < 500:
            self.concurrency = self._most

    def _headers(self, run: Run, log_id: str) -> list[tuple[str, str]]:
        headers = [
            (name, value)
            for name, value in run.headers
            if (lower := name.lower()) not in DROPPED and not lower.startswith(CONTROL) and ":" not in name
        ]
        received = {name.lower(): value for name, value in run.headers}
        if "authorization" not in received:
            headers.append(("authorization", self._basic))
        return [
            ("host", received.get("host", "localhost:3000")),
            *headers,
            (f"{CONTROL}secret", self.secret),
            (f"{CONTROL}timeout", str(max(1, math.ceil(run.run_seconds)))),
            (f"{CONTROL}logging", "enabled" if run.logging else "disabled"),
            (f"{CONTROL}log-id", log_id),
        ]


def _with_interim_status(answer: FunctionResponse) -> FunctionResponse:
    """Return the response with the function's own status if that is below 200."""
    code = next((value for name, value in answer.headers if name == INTERIM_STATUS), "")
    if answer.status == 200 and len(code) == 3 and code.isascii() and code.isdigit() and code[0] == "1":
        return answer._replace(status=int(code))
    return answer


def target(path: str) -> str:
    """Return a path with a leading slash, and with characters escaped that would break the request line."""
    path = quote(path, safe=TARGET_SAFE)
    return path if path.startswith("/") else f"/{path}"


def environment(run: Run, secret: str, hostname: str) -> dict[str, str]:
    """Return the function's variables, and those that the executor sets (runtime.md §11)."""
    return {
        "OPEN_RUNTIMES_ENV": "production",
        "OPEN_RUNTIMES_HEADERS": "{}",
        **run.environment,
        "OPEN_RUNTIMES_SECRET": secret,
        "OPEN_RUNTIMES_ENTRYPOINT": run.entrypoint,
        "OPEN_RUNTIMES_HOSTNAME": hostname,
        "OPEN_RUNTIMES_CPUS": f"{run.limits.cpus:g}",
        "OPEN_RUNTIMES_MEMORY": str(run.limits.memory_mb),
        "CI": "true",
        "INERNAL_EXECUTOR_HOSTNAME": os.uname().nodename,
    }


def start_failure(end: Exit) -> str:
    if end.out_of_memory:
        return "The instance ran out of memory while it started."
    return f"The instance ended while it started, with {code_of(end)}."


def code_of(end: Exit) -> str:
    """Return an exit code in words, with the signal's name if a signal ended the process."""
    number = -end.code if end.code < 0 else end.code - SIGNALLED
    with suppress(ValueError):
        return f"code {end.code} ({signal.Signals(number).name})"
    return f"code {end.code}"
