"""What one project's flood costs another: the same few calls with and without it, in one run."""

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
    """Rounds alternate, so that whatever else the machine does meets both alike; the middle of each counts."""
    flooding, victim = _another_project(instance, "flooding"), _another_project(instance, "victim")
    flooding.function("slow", RUNTIMES["node"][0], "index.js")
    flooding.deploy("slow", archive("index.js", SLOW))
    victim.function("hello", RUNTIMES["node"][0], "index.js")
    victim.deploy("hello", RUNTIMES["node"][2])
    alone, flooded, answered, shed = [], [], 0, 0
    for _ in range(ROUNDS):
        alone.append(_served(victim))
        with _flood(flooding) as told:
            flooded.append(_served(victim))
        answered += told[0].answers - told[0].wrong
        shed += told[0].wrong
    quiet, loud = (statistics.median(one.p99 for one in many) for many in (alone, flooded))
    return [
        Figure(name="p99 of one project's warm calls", value=quiet, unit="ms"),
        Figure(
            name="the same while another floods",
            value=loud,
            unit="ms",
            note=f"{FLOODERS} callers: {answered} answered, {shed} told to come back",
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
    """From a process of its own; what it saw is there on leaving."""
    told: list[Load] = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(int).result()  # the process is there
        running = pool.submit(_asked, flooding.port, _calls(flooding, "slow"), FLOODERS, 7.0)
        time.sleep(1.0)
        yield told
        told.append(running.result())
