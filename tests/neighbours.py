"""`make neighbours`: a hostile project beside a quiet one, one kind of abuse after another.

The quiet project's calls and short builds are timed alone and beside the abuse, in alternating windows, so that other
work of the machine affects both alike. The median of the windows counts. Fails if a call or build of the quiet project
fails, if a ratio to the time alone is above `MOST_TIMES`, or if no abuse reached its limit.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from multiprocessing.synchronize import Event, Semaphore
from queue import Empty
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from tests.client import Client
from tests.contract.drivers.test_driver_hostile_answers import LOGGING
from tests.instance import AnnalsInstance, annals, eventually, instance_of_its_own

MOST_TIMES = 2.0
CALLERS = 4
"""Threads of the hostile project's client, each with its own function."""

BEGIN_SECONDS, END_SECONDS = 120, 90
PROXY = "127.0.0.1"
"""The trusted proxy, so that each hostile guest has its own address."""

HELLO = "module.exports = async ({ res }) => res.text('served')"
HOG = "module.exports = async () => { const all = []; for (;;) all.push(Buffer.alloc(1 << 24, 1)) }"
ANSWER = "module.exports = async ({ res }) => res.text('x'.repeat(15000))"
BUSY = "node -e 'for (;;);'"
FILL = (
    "for n in $(seq 44); do fallocate -l 100000000 fill-$n; done;"
    " while :; do head -c 100000000 /dev/zero > fill-1; done"
)
"""Writes a little more than a build's 4 GiB, so that a late check costs the host no more space."""


class Hostile(NamedTuple):
    """The hostile project for its callers; picklable."""

    endpoint: str
    headers: Mapping[str, str]
    stop: Event
    started: Semaphore
    """Released each time a piece of abuse has started."""


class Abuse(NamedTuple):
    fields: Mapping[str, object]
    """The fields of its functions; `commands` apply to later deployments only."""

    code: str
    attack: Callable[[Hostile, str, int], Iterator[str]]
    """The work of one caller until it is stopped; yields the end of each piece."""

    bound: str
    """A part of the message with which the limit ends the abuse."""

    at_once: int = CALLERS
    """The number of pieces that must have started before the quiet project is timed."""


def _executions(hostile: Hostile, name: str, caller: int) -> Iterator[str]:
    client = Client(hostile.endpoint, hostile.headers)
    while not hostile.stop.is_set():
        hostile.started.release()
        sent = {"path": "/flood", "body": "1000000"}  # seconds, which are read by a flood of logs
        answer = client.http.post(f"/functions/{name}-{caller}/executions", json=sent).json()
        yield str(answer["errors"] or answer["status"] if "errors" in answer else answer["type"])


def _builds(hostile: Hostile, name: str, caller: int) -> Iterator[str]:
    client, function = Client(hostile.endpoint, hostile.headers), f"{name}-{caller}"
    for number in itertools.count():
        if hostile.stop.is_set():
            return
        # All sources differ, so that no build reuses the artefact of a former one.
        deployment = client.deploy(function, {"index.js": f"{HELLO} // {time.time_ns()} {number}"}, activate="false")
        began = False
        while (now := client.deployment(function, deployment))["status"] in {"waiting", "processing", "building"}:
            if not began and now["status"] == "building":
                began = True
                hostile.started.release()
            if hostile.stop.wait(0.1):
                client.http.patch(f"/functions/{function}/deployments/{deployment}/status")
        yield str(now["buildLogs"] or now["status"])


def _keyed(hostile: Hostile, name: str, caller: int) -> Iterator[str]:
    """Send calls of guests with idempotency keys on one connection, so that the client costs little processor time."""
    endpoint = urlsplit(hostile.endpoint)
    connection = HTTPConnection(endpoint.netloc, timeout=60)
    project = {"x-appwrite-project": hostile.headers["x-appwrite-project"], "content-type": "application/json"}
    for number in itertools.count():
        if hostile.stop.is_set():
            return
        hostile.started.release()
        address = f"10.{caller}.{number // 250 % 250}.{number % 250}"
        headers = {**project, "x-forwarded-for": address, "idempotency-key": f"{caller}-{time.time_ns()}"}
        connection.request("POST", f"{endpoint.path}/functions/{name}-{caller}/executions", "{}", headers)
        answer = connection.getresponse()
        text = json.loads(answer.read())
        yield str(text["status"] if answer.status == 201 else text["type"])


ABUSES: Mapping[str, Abuse] = {
    "builds": Abuse({"commands": BUSY}, HELLO, _builds, "The build did not end within", at_once=2),
    "disk": Abuse({"commands": FILL}, HELLO, _builds, "bytes to disk", at_once=2),
    "idempotency": Abuse({"execute": ["any"]}, ANSWER, _keyed, "idempotency_budget_spent"),
    "logs": Abuse({"timeout": 10, "runtime": "python-3.11"}, LOGGING, _executions, "timed out"),
    "memory": Abuse({"runtimeSpecification": "s-1vcpu-512mb"}, HOG, _executions, "of memory"),
}


def _attack(hostile: Hostile, name: str, ends: "multiprocessing.Queue[str | None]") -> None:
    """Run the abuse; its client runs in a separate process and shares no interpreter with the timed client."""

    def caller(number: int) -> None:
        for end in ABUSES[name].attack(hostile, name, number):
            ends.put(end.strip().rpartition("\n")[2])

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(caller, range(CALLERS)))
    ends.put(None)


class Running:
    """A running abuse; `ends` counts the ends of its pieces so far."""

    def __init__(self, name: str, queue: "multiprocessing.Queue[str | None]") -> None:
        self._bound, self._queue = ABUSES[name].bound, queue
        self.ends: Counter[str] = Counter()
        self.over = False

    @property
    def bounded(self) -> int:
        """The number of pieces that the limit has ended."""
        self.collect()
        return sum(times for end, times in self.ends.items() if self._bound in end)

    def wait_for_bound(self) -> None:
        eventually(lambda: self.bounded, END_SECONDS, explain=lambda: f"no bound ended the abuse: {self.ends}")

    def collect(self) -> None:
        with suppress(Empty):
            while not self.over:
                end = self._queue.get_nowait()
                self.over = end is None
                self.ends.update([] if end is None else [end])

    def finished(self) -> bool:
        self.collect()
        return self.over


class Neighbours:
    """A hostile and a quiet project of one instance."""

    def __init__(self, instance: AnnalsInstance) -> None:
        self._hostile, self.quiet = _project(instance, "hostile"), _project(instance, "quiet")
        self.quiet.function("hello", HELLO)
        self.call()

    def prepare(self, name: str) -> None:
        """Create the functions of an abuse. Their active deployments are harmless if builds are the abuse."""
        abuse = ABUSES[name]
        fields = {key: value for key, value in abuse.fields.items() if key != "commands"}
        for number in range(CALLERS):
            function = self._hostile.function(f"{name}-{number}", abuse.code, **fields)  # type: ignore[arg-type]
            if "commands" in abuse.fields:
                changed = {"name": function, "entrypoint": "index.js", "commands": abuse.fields["commands"]}
                self._hostile.call("PUT", f"/functions/{function}", json=changed)

    @contextmanager
    def beside(self, name: str) -> Iterator[Running]:
        """Run an abuse while inside, and wait for its end."""
        context = multiprocessing.get_context("spawn")
        queue: multiprocessing.Queue[str | None] = context.Queue()
        stop, started = context.Event(), context.Semaphore(0)
        http = self._hostile.http
        hostile = Hostile(str(http.base_url).rstrip("/"), dict(http.headers), stop, started)
        process = context.Process(target=_attack, args=(hostile, name, queue))
        process.start()
        running = Running(name, queue)
        try:
            for _ in range(ABUSES[name].at_once):
                assert started.acquire(timeout=BEGIN_SECONDS), f"the abuse did not begin: {running.ends}"
            yield running
        finally:
            stop.set()
            eventually(running.finished, END_SECONDS, explain=lambda: f"the abuse did not end: {running.ends}")
            process.join()

    def call(self) -> float:
        """Call the quiet project's function, which must succeed, and return the seconds."""
        began = time.monotonic()
        assert self.quiet.execute("hello")["responseBody"] == "served"
        return time.monotonic() - began

    def build(self) -> float:
        """Build the quiet project's function, which must succeed, and return the seconds from upload to end."""
        began = time.monotonic()
        deployment = self.quiet.deploy("hello", {"index.js": f"{HELLO} // {time.time_ns()}"}, activate="false")
        self.quiet.ready("hello", deployment)
        return time.monotonic() - began


def _project(instance: AnnalsInstance, project: str) -> Client:
    made = annals("projects", "create", "--id", project, "--json", "--data", str(instance.data))
    return Client(instance.endpoint, {"x-appwrite-project": project, "x-appwrite-key": json.loads(made.stdout)["key"]})


class Window(NamedTuple):
    p50: float
    p99: float
    build: float
    calls: int
    failed: list[str]


def window(neighbours: Neighbours, options: argparse.Namespace) -> Window:
    """Time the quiet project's calls until there are enough or the time is over, then its builds."""
    failed: list[str] = []

    def timed(work: Callable[[], float], times: int) -> list[float]:
        found, ends = list[float](), time.monotonic() + options.seconds
        while len(found) < times and time.monotonic() < ends:
            try:
                found.append(work())
            except (AssertionError, KeyError, httpx.HTTPError) as failure:
                failed.append(repr(failure)[:300])
        return sorted(found) or [math.inf]

    calls, builds = timed(neighbours.call, options.calls), timed(neighbours.build, options.builds)
    return Window(
        statistics.median(calls), calls[int(len(calls) * 0.99)], statistics.median(builds), len(calls), failed
    )


def compare(neighbours: Neighbours, name: str, options: argparse.Namespace) -> bool:
    """Print the cost of one abuse for the quiet project, and return False if it is too high."""
    neighbours.prepare(name)
    alone, beside, ends, bounded = list[Window](), list[Window](), Counter[str](), 0
    for _ in range(options.rounds):
        alone.append(window(neighbours, options))
        with neighbours.beside(name) as running:
            beside.append(window(neighbours, options))
            running.wait_for_bound()
        ends, bounded = ends + running.ends, bounded + running.bounded
    failed = [text for timed in (*alone, *beside) for text in timed.failed]
    calls = sum(timed.calls for timed in beside)
    print(f"{name}: {len(failed)} failed of {calls} calls and the builds beside the abuse;", end=" ")
    print(f"load average {os.getloadavg()[0]:.1f}")
    passed = not failed and bounded > 0
    for measure in ("p50", "p99", "build"):
        floor, loud = (statistics.median(getattr(timed, measure) for timed in all_) * 1000 for all_ in (alone, beside))
        passed = passed and loud <= MOST_TIMES * floor
        print(f"  {measure:5} {floor:8.1f} ms alone {loud:8.1f} ms beside {loud / floor:6.2f} times")
    print("  ended: " + "; ".join(f"{times} {end[:100]!r}" for end, times in ends.most_common(5)))
    print("\n".join(f"  failed: {text}" for text in failed[:5]), end="\n" if failed else "", flush=True)
    return passed


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=400, help="timed calls of a window")
    options.add_argument("--builds", type=int, default=7, help="timed builds of a window")
    options.add_argument("--rounds", type=int, default=3, help="pairs of windows of an abuse")
    options.add_argument("--seconds", type=float, default=40, help="time limit of a window's calls, and of its builds")
    options.add_argument("--abuse", nargs="*", default=list(ABUSES), choices=list(ABUSES))
    chosen = options.parse_args()
    settings = {"ANNALS_TRUSTED_PROXIES": PROXY, "ANNALS_BUILD_TIMEOUT_S": "30"}
    with instance_of_its_own(**settings) as instance:
        neighbours = Neighbours(instance)
        passed = [compare(neighbours, name, chosen) for name in chosen.abuse]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
