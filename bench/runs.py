"""Executions and builds: builds of hello, warm calls, a burst of first calls, asynchronous executions."""

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psycopg

from bench.archives import RUNTIMES, SOURCES, archive
from bench.client import Load, always, load, request
from bench.cpu import spending
from bench.floors import median_of_3
from bench.function_server import direct_rate
from bench.instance import Instance
from bench.results import Figure

_OPEN = "SELECT FROM executions WHERE status IN ('waiting', 'processing') LIMIT 1"


def deploy_hellos(instance: Instance) -> list[Figure]:
    """Create the two hello functions that other figures call, and measure their builds."""
    made = []
    for language, (_, entrypoint, _) in RUNTIMES.items():
        _hello(instance, language)  # the first build also installs the runtime
        uploads = [archive(entrypoint, SOURCES[language].format(number)) for number in range(3)]
        seconds = statistics.median(instance.deploy(f"hello-{language}", upload)[1] for upload in uploads)
        instance.deploy(f"hello-{language}", RUNTIMES[language][2])
        target = {"node": 0.4, "python": 0.6}[language]
        made.append(Figure(name=f"build of hello, upload to ready, {language}", value=seconds, unit="s", target=target))
    return made


def _hello(instance: Instance, language: str) -> None:
    """Create and deploy the hello function of a language unless it exists."""
    runtime, entrypoint, upload = RUNTIMES[language]
    if instance.http.get(f"/functions/hello-{language}").status_code == 404:
        instance.function(f"hello-{language}", runtime, entrypoint)
        instance.deploy(f"hello-{language}", upload)


def _calls(instance: Instance, language: str, **sent: Any) -> bytes:
    _hello(instance, language)
    body = json.dumps(sent).encode()
    headers = {**instance.headers, "content-type": "application/json"}
    return request("POST", f"/v1/functions/hello-{language}/executions", headers, body)


def warm(instance: Instance, fsync_ms: float) -> list[Figure]:
    made = []
    for language in RUNTIMES:
        message = _calls(instance, language)

        def measure(callers: int, message: bytes = message) -> Load:
            return median_of_3(instance.port, always(message), callers=callers, wanted=201)

        floor = direct_rate(language)
        one = measure(1)
        with spending(instance) as spent:
            many = measure(32)
        name = f"warm sync execution, {language}"
        made += [
            Figure(
                name=f"{name}, 1 caller, p50", value=one.p50, unit="ms", floor=1000 / floor.one, target=2 + 2 * fsync_ms
            ),
            Figure(
                name=f"{name}, 32 callers",
                value=many.rate,
                unit="answers/s",
                floor=floor.many,
                target=1000 / max(1.0, fsync_ms / 2),
                note=spent.shares(),
            ),
            Figure(name=f"{name}, 32 callers, p99", value=many.p99, unit="ms", target=60 * max(1.0, fsync_ms / 2)),
        ]
    return made


def burst(instance: Instance, callers: int = 50) -> list[Figure]:
    """Measure simultaneous first calls of one cold function; none may fail."""
    _hello(instance, "node")
    instance.deploy("hello-node", RUNTIMES["node"][2])

    def call(_: int) -> tuple[float, str]:
        started = time.perf_counter()
        answer = instance.call("POST", "/functions/hello-node/executions", json={})
        return (time.perf_counter() - started) * 1e3, answer["status"]

    with ThreadPoolExecutor(callers) as pool:
        ends = list(pool.map(call, range(callers)))
    failed = sum(status != "completed" for _, status in ends)
    worst = max(ms for ms, _ in ends)
    return [
        Figure(
            name=f"{callers} simultaneous first calls, slowest",
            value=worst,
            unit="ms",
            target=500,
            note=f"{failed} failed",
        ),
        Figure(name=f"{callers} simultaneous first calls, failed", value=failed, unit="calls", target=0),
    ]


def asynchronous(instance: Instance, fsync_ms: float) -> list[Figure]:
    scale = max(1.0, fsync_ms / 2)
    message = _calls(instance, "node", **{"async": True})
    with spending(instance) as spent:
        accepted = median_of_3(instance.port, always(message), callers=32, wanted=202, seconds=1.0)
    _wait_until_ended(instance)
    completed = _completed(instance, message)
    lags = [_completion_ms(instance) for _ in range(20)]
    cuts = statistics.quantiles(lags, n=100, method="inclusive")
    return [
        Figure(
            name="async accepted, 32 callers",
            value=accepted.rate,
            unit="answers/s",
            floor=1000 / fsync_ms,
            target=2000 / scale,
            note=spent.shares(),
        ),
        Figure(name="async accepted, 32 callers, p99", value=accepted.p99, unit="ms", target=50 * scale),
        Figure(
            name="async completed, hello, from the first call to the last end",
            value=completed,
            unit="runs/s",
            target=700 / scale,
        ),
        Figure(name="accepted to completed, one each 0.5 s, p50", value=cuts[49], unit="ms", target=6 + 3 * fsync_ms),
        Figure(name="accepted to completed, one each 0.5 s, p99", value=cuts[98], unit="ms", target=30),
    ]


def _completed(instance: Instance, message: bytes, seconds: float = 3.0) -> float:
    """Return the executions a second, from the first of 32 callers' calls to the last end."""
    started = time.perf_counter()
    accepted = load(instance.port, always(message), callers=32, seconds=seconds, wanted=202)
    _wait_until_ended(instance)
    return accepted.answers / (time.perf_counter() - started)


def _wait_until_ended(instance: Instance, seconds: float = 300.0) -> None:
    """Wait until no execution is open. One connection asks, since a new one each time would disturb the measurement."""
    deadline = time.perf_counter() + seconds
    with psycopg.connect(instance.database_url, autocommit=True) as connection:
        while connection.execute(_OPEN).fetchone() is not None:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"asynchronous executions did not all end in {seconds:g} s")
            time.sleep(0.02)


def _completion_ms(instance: Instance) -> float:
    """Return the milliseconds from acceptance to the recorded end, by the clock of the log."""
    made = instance.call("POST", "/functions/hello-node/executions", json={"async": True})
    time.sleep(0.5)
    path = f"/functions/hello-node/executions/{made['$id']}"
    ended = instance.call("GET", path)
    assert ended["status"] == "completed", ended
    return (_moment(ended["$updatedAt"]) - _moment(made["$createdAt"])) * 1e3


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
