"""Callers of an instance at a steady rate, each call of which is to succeed."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.instance import AnnalsInstance


class Failure(NamedTuple):
    """A call that did not succeed: when it was told, by the monotonic clock, and its status; 0: nobody answered."""

    at: float
    status: int
    text: str


class Load:
    """Reads, writes, synchronous and asynchronous executions, each on a connection of its own."""

    def __init__(
        self,
        instance: AnnalsInstance,
        *,
        requests_a_second: int = 200,
        clients: int = 10,
        name: str = "f",
        endpoint: str = "",
    ) -> None:
        """Loads of different names may run at once; `endpoint` is where an instance has another one."""
        self.answered = 0
        self.failures: list[Failure] = []
        self.later: list[str] = []
        self._where, self._name = urlsplit(endpoint or instance.endpoint), name
        self._headers = {**instance.headers, "content-type": "application/json"}
        self._end = threading.Event()
        self._calling: list[Future[None]] = []
        self._pause, self._clients = clients / requests_a_second, clients

    @property
    def failed(self) -> list[str]:
        """What is told of the calls that did not succeed."""
        return [one.text for one in self.failures]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Call all the time while inside."""
        with ThreadPoolExecutor(self._clients) as pool:
            self._calling = [pool.submit(self._run, number) for number in range(self._clients)]
            try:
                yield
            finally:
                self.end()

    def end(self) -> None:
        """Call no more; returns once nothing is under way."""
        self._end.set()
        for one in self._calling:
            one.result()

    def _run(self, client: int) -> None:
        number, due = client, time.monotonic()
        while not self._end.is_set():
            number += 1
            self._one(client, number)
            due = max(due + self._pause, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _one(self, client: int, number: int) -> None:
        kind = number % 10
        if kind == 0:
            self._send("POST", "/functions/hello/executions", {}, completed=True)
        elif kind in {3, 6}:
            made = self._send("POST", "/functions/hello/executions", {"async": True})
            self.later += [made["$id"]] if made else []
        elif kind == 9:
            named = {"functionId": f"{self._name}{client}-{number}", "name": "n", "runtime": "node-22"}
            self._send("POST", "/functions", named)
        else:
            self._send("GET", "/functions/hello")

    def _send(self, method: str, path: str, sent: dict[str, Any] | None = None, *, completed: bool = False) -> Any:
        connection = http.client.HTTPConnection(self._where.hostname or "", self._where.port, timeout=100)
        try:
            body = None if sent is None else json.dumps(sent)
            connection.request(method, f"{self._where.path}{path}", body, self._headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(Failure(time.monotonic(), 0, f"{method} {path}: {error!r}"))
            return None
        finally:
            connection.close()
        told = json.loads(text)
        if answer.status >= 300 or (completed and told["status"] != "completed"):
            said = f"{method} {path}: {answer.status} {text[:2000]!r}"
            self.failures.append(Failure(time.monotonic(), answer.status, said))
            return None
        self.answered += 1
        return told
