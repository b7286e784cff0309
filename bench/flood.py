"""The cost of one project's flood for another project: the same few calls with and without it, in one run."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from bench.archives import RUNTIMES, archive
from bench.client import Load, load, request
from bench.instance import Instance
from bench.results import Figure

FLOODERS, VICTIMS = 400, 2
ROUNDS = 3
SLOW = "module.exports = async ({ res }) => { await new Promise(done => setTimeout(done, 300)); return res.text('') }\n"


def figures(instance: Instance) -> list[Figure]:
    """Measure in alternating rounds, so that other work of the machine affects both alike; the median counts."""
    flooding, victim = _another_project(instance, "flooding"), _another_project(instance, "victim")
    flooding.function("slow", RUNTIMES["node"][0], "index.js")
    flooding.deploy("slow", archive("index.js", SLOW))
    victim.function("hello", RUNTIMES["node"][0], "index.js")
    victim.deploy("hello", RUNTIMES["node"][2])
    alone, flooded, answered, shed = [], [], 0, 0
    for _ in range(ROUNDS):
        alone.append(_served(victim))
        with _flood(flooding) as loads:
            flooded.append(_served(victim))
        answered += loads[0].answers - loads[0].wrong
        shed += loads[0].wrong
    quiet, loud = (statistics.median(one.p99 for one in many) for many in (alone, flooded))
    return [
        Figure(name="p99 of one project's warm calls", value=quiet, unit="ms"),
        Figure(
            name="the same while another floods",
            value=loud,
            unit="ms",
            note=f"{FLOODERS} callers: {answered} answered, {shed} refused with a Retry-After",
        ),
        Figure(name="p99 beside a flood, to that alone", value=loud / quiet, unit="times", target=2),
    ]


def _another_project(instance: Instance, project: str) -> Instance:
    command = [sys.executable, "-m", "annals", "projects", "create", "--id", project, "--json", "--data", instance.data]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ready = {"endpoint": instance.endpoint, "data": instance.data, "database_url": instance.database_url}
    return Instance(instance.process, {**ready, "project": project, "key": made["key"]}, instance.start_seconds)


def _calls(project: Instance, function_id: str) -> bytes:
    headers = {**project.headers, "content-type": "application/json"}
    return request("POST", f"/v1/functions/{function_id}/executions", headers, b"{}")


def _asked(port: int, message: bytes, callers: int, seconds: float) -> Load:
    def always(_: int) -> Iterator[bytes]:
        while True:
            yield message

    return load(port, always, callers=callers, seconds=seconds, wanted=201)


def _served(victim: Instance) -> Load:
    served = _asked(victim.port, _calls(victim, "hello"), VICTIMS, 4.0)
    if served.wrong:
        raise RuntimeError(f"{served.wrong} calls beside a flood failed, the first: {served.first_wrong}")
    return served


@contextmanager
def _flood(flooding: Instance) -> Iterator[list[Load]]:
    """Flood from a separate process; the yielded list has the load's result after the block."""
    loads: list[Load] = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(int).result()  # the process has started
        running = pool.submit(_asked, flooding.port, _calls(flooding, "slow"), FLOODERS, 7.0)
        time.sleep(1.0)
        yield loads
        loads.append(running.result())
