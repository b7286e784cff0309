"""Clients that write continuously and remember every answer."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from tests.instance import AnnalsInstance, eventually


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
