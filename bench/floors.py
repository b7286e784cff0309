"""Floors: the cheapest ways to do the same as a figure, measured in the same run."""

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from bench.client import Load, Requests, load


def durable_insert(database_url: str, seconds: float = 1.5) -> float:
    """Return the rows a second of one connection that commits each row of about 375 bytes, the size of an event."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bench_insert")
        connection.execute("CREATE TABLE bench_insert (id bigserial PRIMARY KEY, stream text, state bytea)")
        state, rows, started = b"x" * 375, 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            connection.execute("INSERT INTO bench_insert (stream, state) VALUES (%s, %s)", ("a:b:c", state))
            rows += 1
        rate = rows / (time.perf_counter() - started)
        connection.execute("DROP TABLE bench_insert")
    return rate


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def bare_answers() -> Iterator[int]:
    """Run two processes of Litestar with a constant answer, as many as `up` has, and yield their port."""
    port = free_port()
    processes = [subprocess.Popen([sys.executable, "-m", "bench.bare", str(port)]) for _ in range(2)]
    try:
        _wait_for(port)
        yield port
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")


def median_of_3(port: int, requests: Requests, *, callers: int, seconds: float = 2.0, wanted: int = 200) -> Load:
    """Return the run with the median rate of three."""
    runs = [load(port, requests, callers=callers, seconds=seconds, wanted=wanted) for _ in range(3)]
    for run in runs:
        if run.wrong:
            raise RuntimeError(f"{run.wrong} wrong answers, the first: {run.first_wrong}")
    return sorted(runs, key=lambda run: run.rate)[1]


def median_rate(measure: Callable[[], float], times: int = 3) -> float:
    """Return the median of several rates."""
    return statistics.median(measure() for _ in range(times))
