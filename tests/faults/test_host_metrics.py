"""A scrape of any API process returns the counters of the whole host, which no restart resets."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.instance import AnnalsInstance, eventually, instance_of_its_own

SCRAPES = 50
CALLERS = 4
LINE = re.compile(r"^(annals_http_\w+(?:_total|_bucket|_sum|_count))(\{.*\})? (\S+)$", re.MULTILINE)
FUNCTIONS = re.compile(r'^annals_http_requests_total\{method="GET",route="/v1/functions",status="200"\} (\S+)$', re.M)
RUNNING = re.compile(r"^annals_http_requests_running (\S+)$", re.MULTILINE)


@pytest.fixture
def instance() -> Iterator[AnnalsInstance]:
    with instance_of_its_own() as running:
        yield running


def scrape(instance: AnnalsInstance) -> str:
    """Scrape over a new connection, so that any of the API processes may answer."""
    return httpx.get(instance.endpoint.removesuffix("/v1") + "/metrics", timeout=60).text


def counters(text: str) -> dict[str, float]:
    return {f"{name}{labels}": float(value) for name, labels, value in LINE.findall(text)}


def listed(text: str) -> int:
    found = FUNCTIONS.search(text)
    return int(float(found[1])) if found else 0


@contextmanager
def load(instance: AnnalsInstance) -> Iterator[list[int]]:
    """Run clients that list functions, each request on a new connection, and yield the count of their answers."""
    stop, answered, lock = threading.Event(), [0], threading.Lock()

    def call() -> None:
        while not stop.is_set():
            try:
                status = httpx.get(f"{instance.endpoint}/functions", headers=instance.headers, timeout=60).status_code
            except httpx.TransportError:  # the test has killed the API process
                continue
            if status == 200:
                with lock:
                    answered[0] += 1

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield answered
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def test_fifty_scrapes_under_load_see_only_monotonic_counters(instance: AnnalsInstance) -> None:
    former: dict[str, float] = {}
    with load(instance) as answered:
        for _ in range(SCRAPES):
            now = counters(scrape(instance))
            assert [name for name in former if now.get(name, 0.0) < former[name]] == []
            former = now

    assert listed(scrape(instance)) == answered[0]


def kill(instance: AnnalsInstance, role: str) -> None:
    """Kill a process and wait until another process has its role."""
    pid = instance.pid_of(role)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: instance.pid_of(role) != pid)


def wait_for_more(instance: AnnalsInstance, than: int) -> int:
    """Wait until the count of listings has grown by twenty, and return it."""
    eventually(lambda: listed(scrape(instance)) > than + 20)
    return listed(scrape(instance))


def test_counters_survive_a_killed_api_process_and_running_requests_do_not(instance: AnnalsInstance) -> None:
    counted = 0
    with load(instance) as answered:
        for role in ("api1", "api2"):
            counted = wait_for_more(instance, counted)
            kill(instance, role)
            assert listed(scrape(instance)) >= counted

    assert listed(scrape(instance)) >= answered[0]
    running = RUNNING.search(scrape(instance))
    assert running is not None
    assert float(running[1]) == 1  # the scrape itself
