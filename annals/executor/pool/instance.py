"""One function server: brought up, called, and brought down with a reason."""

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
from annals.executor.pool.http1 import HOP_BY_HOP, Answer, Endpoint, request_head

SIGNALLED = 128
CONTROL = "x-open-runtimes-"
CONCURRENCY = f"{CONTROL}concurrency"
INTERIM_STATUS = f"{CONTROL}status"
"""The header with a function's status below 200, after which HTTP would have the executor wait for another response."""

SPECIALISE = "/__annals/specialise"
DROPPED = frozenset(name.decode() for name in HOP_BY_HOP) | {"content-length", "expect", "host"}
TARGET_SAFE = "!#$%&'()*+,/:;=?@[]-._~\"<>\\^`{|}"


class Why(StrEnum):
    """Why an instance takes no more requests: a sentence for those whose requests die with it."""

    GONE = "Its deployment is gone."
    IDLE = "It was idle."
    NEEDED = "Its place was needed."
    STOPPING = "The executor is stopping."
    BY_ITSELF = "It ended by itself."
    CANCELED = "Its execution was canceled."
    LATE = "An execution on it did not end at its deadline."
    BROKEN = "It broke a connection."


class Instance:
    """A running function server: of one deployment and environment for life, or idle until it is given them.

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
        self.retired: Why | None = None
        self.fault = ""
        """Why it is being ended, in a sentence, if that is for what it wrote to its log socket."""
        self.exit: Exit | None = None
        self.tail = Tail()
        self._body_limit = body_limit
        self._has_agent = has_agent
        self.secret = secrets.token_hex(16)
        self._basic = "Basic " + base64.b64encode(f"opr:{self.secret}".encode()).decode()
        self._sandbox: Sandbox | None = None
        self._endpoint: Endpoint | None = None
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
        """Count one request less; `quiet` is set when none is left, or when there is nothing to wait for."""
        self.in_flight -= 1
        self.used = time.monotonic()
        if not self.in_flight:
            self.quiet.set()

    async def start(self, driver: Driver, run: Run, code: Path, seconds: float) -> None:
        """Bring the server of a deployment up. Raises StartFailed with its last lines, or RuntimeUnavailable."""
        await self._bring_up(driver, self._task(run, code), seconds)

    async def start_idle(self, driver: Driver, runtime: str, limits: Limits, seconds: float) -> None:
        """Bring up a server that serves nobody yet. Raises as `start` does."""
        task = Serve(name=self.id, runtime=runtime, code=None, folder=self.folder, environment={}, limits=limits)
        sandbox = await self._bring_up(driver, task, seconds)
        await sandbox.rest()

    async def specialise(self, run: Run, code: Path) -> None:
        """Turn an idle server into a deployment's, for good. Raises StartFailed, Broken, TooLarge or OSError."""
        if self._sandbox is None:
            raise StartFailed("The instance was never started.")
        variables = await self._sandbox.specialise(self._task(run, code))
        wish = json.dumps({"env": variables, "code": FUNCTION}).encode()
        head = request_head("POST", SPECIALISE, [("host", "localhost:3000")], len(wish))
        answer = await self._exchange("POST", head, wish)
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
        endpoint = self._endpoint = Endpoint(sandbox.address, self._body_limit)
        if self.fault:
            raise StartFailed(self.fault)
        await self._await_server(sandbox, seconds)
        if not endpoint.pin():
            raise StartFailed(self._sentence("The instance says that it listens, but it does not."))
        await sandbox.seal()
        return sandbox

    async def _await_server(self, sandbox: Sandbox, seconds: float) -> None:
        ending = asyncio.ensure_future(sandbox.wait())
        ready = asyncio.ensure_future(self.tail.started.wait())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait((ending, ready), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise StartFailed(self._sentence(f"The instance did not start within {seconds:g} seconds.")) from None
        finally:
            ready.cancel()
        if ending.done():
            raise StartFailed(self._sentence(self.fault or start_failure(ending.result())))

    def _faulty(self, what: str) -> None:
        """End it for what it wrote."""
        self.fault = f"The instance was ended: {what}"
        if self._sandbox is not None:
            self._killing = asyncio.create_task(self._sandbox.kill())

    def _sentence(self, what: str) -> str:
        printed = self.tail.text()
        return f"{what}\n{printed}" if printed else what

    async def ended(self) -> Exit:
        """Wait until the sandbox is gone."""
        if self._sandbox is None:
            return Exit(0)
        self.exit = await self._sandbox.wait()
        self.quiet.set()
        return self.exit

    async def stop(self) -> None:
        """Kill the sandbox and leave nothing of it behind."""
        if self._sandbox is not None:
            await self._sandbox.kill()
        self.logs.close()
        if self._endpoint is not None:
            self._endpoint.close()
        await asyncio.to_thread(self._trash.remove, self.folder)

    async def call(self, run: Run, log_id: str) -> Answer:
        """Send one execution's request. Raises Broken, TooLarge, OSError or ValueError."""
        head = request_head(run.method, target(run.path), self._headers(run, log_id), len(run.body))
        answer = await self._exchange(run.method, head, run.body)
        self._learn(answer)
        return _with_interim_status(answer)

    async def command(self, command: str, seconds: float, output: Sink) -> Exit:
        """Run a command beside its server. Raises StartFailed where that cannot be, TimeoutError."""
        if self._sandbox is None:
            raise StartFailed("The instance was never started.")
        return await self._sandbox.run(command, seconds, output)

    async def _exchange(self, method: str, head: bytes, body: bytes) -> Answer:
        if self._endpoint is None:
            raise StartFailed("The instance was never started.")
        connection = await self._endpoint.connect()
        try:
            return await connection.request(method, head, body)
        finally:
            self._endpoint.give_back(connection)

    def _learn(self, answer: Answer) -> None:
        """An answer says how many requests its server takes at once; one that failed may not know."""
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
        given = {name.lower(): value for name, value in run.headers}
        if "authorization" not in given:
            headers.append(("authorization", self._basic))
        return [
            ("host", given.get("host", "localhost:3000")),
            *headers,
            (f"{CONTROL}secret", self.secret),
            (f"{CONTROL}timeout", str(max(1, math.ceil(run.run_seconds)))),
            (f"{CONTROL}logging", "enabled" if run.logging else "disabled"),
            (f"{CONTROL}log-id", log_id),
        ]


def _with_interim_status(answer: Answer) -> Answer:
    """The response with the status that the code returned, where that is one below 200."""
    code = next((value for name, value in answer.headers if name == INTERIM_STATUS), "")
    if answer.status == 200 and len(code) == 3 and code.isascii() and code.isdigit() and code[0] == "1":
        return answer._replace(status=int(code))
    return answer


def target(path: str) -> str:
    """A path as it was sent, with what would break the request line escaped, and a leading slash."""
    path = quote(path, safe=TARGET_SAFE)
    return path if path.startswith("/") else f"/{path}"


def environment(run: Run, secret: str, hostname: str) -> dict[str, str]:
    """The function's variables, with what the executor itself sets (runtime.md §11)."""
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
    """A code in words: a shell's way of telling of a signal is not known to everybody."""
    number = -end.code if end.code < 0 else end.code - SIGNALLED
    with suppress(ValueError):
        return f"code {end.code} ({signal.Signals(number).name})"
    return f"code {end.code}"
