"""Callers of an instance: loads of calls that must succeed, unless a fault excuses them, and clients that write."""

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx

from tests.instance import AnnalsInstance, eventually

AFTER_SECONDS = 30.0
"""The time after a fault in which calls may still fail; then the process is back and other processes know it."""

API = frozenset({"api1", "api2"})
EXCUSES = ((0, API), (503, frozenset({"postgres"})), (201, API | {"executor", "postgres"}))
"""The roles that explain a status. A connection breaks (0) when its API process dies. Calls answer 503 while Postgres
is down. A synchronous execution fails (201) with its executor, its API process or Postgres."""


class Callee(Protocol):
    """An instance, or several services that are one."""

    @property
    def endpoint(self) -> str: ...

    @property
    def headers(self) -> dict[str, str]: ...


class Failure(NamedTuple):
    """A failed call: the monotonic time of the failure and the status of the answer, 0 if there was none."""

    at: float
    status: int
    text: str


class Load:
    """Clients that read, write and execute at a steady rate, each call on a new connection."""

    def __init__(
        self,
        instance: Callee,
        *,
        requests_a_second: int = 200,
        clients: int = 10,
        name: str = "f",
        endpoint: str = "",
    ) -> None:
        """Prepare a load; loads of different names may run at once. `endpoint` replaces the instance's own address."""
        self.answered = 0
        self.failures: list[Failure] = []
        self.asynchronous_ids: list[str] = []
        self._endpoint, self._name = urlsplit(endpoint or instance.endpoint), name
        self._headers = {**instance.headers, "content-type": "application/json"}
        self._end = threading.Event()
        self._calling: list[Future[None]] = []
        self._pause, self._clients = clients / requests_a_second, clients

    @property
    def failed(self) -> list[str]:
        """The descriptions of the failed calls."""
        return [failure.text for failure in self.failures]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send calls until the context ends."""
        with ThreadPoolExecutor(self._clients) as pool:
            self._calling = [pool.submit(self._run, number) for number in range(self._clients)]
            try:
                yield
            finally:
                self.end()

    def end(self) -> None:
        """Stop the clients and wait for the calls in progress."""
        self._end.set()
        for client in self._calling:
            client.result()

    def _run(self, client: int) -> None:
        number, due = client, time.monotonic()
        while not self._end.is_set():
            number += 1
            self._call(client, number)
            due = max(due + self._pause, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _call(self, client: int, number: int) -> None:
        kind = number % 10
        if kind == 0:
            self._send("POST", "/functions/hello/executions", {}, completed=True)
        elif kind in {3, 6}:
            made = self._send("POST", "/functions/hello/executions", {"async": True})
            self.asynchronous_ids += [made["$id"]] if made else []
        elif kind == 9:
            named = {"functionId": f"{self._name}{client}-{number}", "name": "n", "runtime": "node-22"}
            self._send("POST", "/functions", named)
        else:
            self._send("GET", "/functions/hello")

    def _send(self, method: str, path: str, sent: dict[str, Any] | None = None, *, completed: bool = False) -> Any:
        connection = http.client.HTTPConnection(self._endpoint.hostname or "", self._endpoint.port, timeout=100)
        try:
            body = None if sent is None else json.dumps(sent)
            connection.request(method, f"{self._endpoint.path}{path}", body, self._headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(Failure(time.monotonic(), 0, f"{method} {path}: {error!r}"))
            return None
        finally:
            connection.close()
        document = json.loads(text)
        if answer.status >= 300 or (completed and document["status"] != "completed"):
            description = f"{method} {path}: {answer.status} {text[:2000]!r}"
            self.failures.append(Failure(time.monotonic(), answer.status, description))
            return None
        self.answered += 1
        return document


class Fault(NamedTuple):
    """A fault of a process, with its begin and end by the monotonic clock."""

    role: str
    began: float
    ended: float


def unexcused(failures: Sequence[Failure], faults: Sequence[Fault]) -> list[str]:
    """Return the descriptions of failures that no fault explains."""
    return [failure.text for failure in failures if not any(_excuses(fault, failure) for fault in faults)]


def _excuses(fault: Fault, failure: Failure) -> bool:
    near = fault.began <= failure.at <= fault.ended + AFTER_SECONDS
    return near and any(failure.status == status and fault.role in roles for status, roles in EXCUSES)


class Writers:
    """Clients that create functions; `answered` lists the acknowledged ids, `others` all other answers."""

    def __init__(self, instance: AnnalsInstance) -> None:
        self.answered: list[str] = []
        self.others: list[httpx.Response] = []
        self._instance, self._end = instance, threading.Event()
        self._name = f"{random.randrange(10**6)}"

    @contextmanager
    def writing(self, clients: int = 6) -> Iterator[None]:
        with ThreadPoolExecutor(clients) as pool:
            running = [pool.submit(self._write, number) for number in range(clients)]
            try:
                yield
            finally:
                self._end.set()
            for client in running:
                client.result()

    def wait_for_more(self, number: int = 20, seconds: float = 90) -> None:
        """Wait until this number of further writes was acknowledged."""
        before = len(self.answered)
        eventually(lambda: len(self.answered) >= before + number, seconds)

    def check_nothing_lost(self) -> None:
        """Check that acknowledged functions exist, and that every other answer was 503 with `retry-after`."""
        assert {answer.status_code for answer in self.others} <= {503}, self.others
        assert all(int(answer.headers["retry-after"]) > 0 for answer in self.others)
        with httpx.Client(base_url=self._instance.endpoint, headers=self._instance.headers, timeout=100) as http:
            assert [name for name in self.answered if http.get(f"/functions/{name}").status_code != 200] == []

    def _write(self, number: int) -> None:
        instance, serial = self._instance, 0
        with httpx.Client(base_url=instance.endpoint, headers=instance.headers, timeout=100) as http:
            while not self._end.is_set():
                serial += 1
                name = f"w{self._name}-{number}-{serial}"
                answer = http.post("/functions", json={"functionId": name, "name": "n", "runtime": "node-22"})
                if answer.status_code == 201:
                    self.answered.append(name)
                else:
                    self.others.append(answer)
                    time.sleep(0.05)
