"""Reading: one function, a page of functions, a page of executions, usage."""

import json
from collections.abc import Iterator
from itertools import count

from bench.client import Load, always, request
from bench.cpu import spending
from bench.floors import bare_answers, median_of_3
from bench.instance import Instance
from bench.results import Figure


def _floors() -> tuple[float, float]:
    with bare_answers() as port:
        one = median_of_3(port, always(request("GET", "/one", {})), callers=32, seconds=1.5)
        many = median_of_3(port, always(request("GET", "/many", {})), callers=32, seconds=1.5)
    return one.rate, many.rate


def figures(instance: Instance) -> list[Figure]:
    for number in range(30):
        instance.function(f"read-{number}", "node-22", "index.js")
    one_floor, many_floor = _floors()

    def measure(path: str) -> Load:
        message = request("GET", f"/v1{path}", instance.headers)
        return median_of_3(instance.port, always(message), callers=32)

    one, many = measure("/functions/read-7"), measure("/functions")
    return [
        Figure(name="GET one function, 32 callers", value=one.rate, unit="answers/s", floor=one_floor, target=4000),
        Figure(name="GET one function, 32 callers, p99", value=one.p99, unit="ms", target=25),
        Figure(
            name="list of 25 functions, 32 callers", value=many.rate, unit="answers/s", floor=many_floor, target=2500
        ),
    ]


def write_figures(instance: Instance, fsync_ms: float) -> list[Figure]:
    """Measure the creation of functions; `fsync_ms` is the time of a durable insert of one row in the same run."""
    serial = count()
    scale = max(1.0, fsync_ms / 2)

    def creates(_: int) -> Iterator[bytes]:
        while True:
            body = json.dumps({"functionId": "unique()", "name": f"made {next(serial)}", "runtime": "node-22"}).encode()
            yield request("POST", "/v1/functions", {**instance.headers, "content-type": "application/json"}, body)

    alone = median_of_3(instance.port, creates, callers=1, wanted=201)
    with spending(instance) as spent:
        eight = median_of_3(instance.port, creates, callers=8, wanted=201)
    return [
        Figure(
            name="create function, 8 callers",
            value=eight.rate,
            unit="answers/s",
            floor=1000 / fsync_ms,
            target=1000 / scale,
            note=spent.shares(),
        ),
        Figure(
            name="create function, 1 caller, p50", value=alone.p50, unit="ms", floor=fsync_ms, target=2.5 + fsync_ms
        ),
    ]


def after_executions(instance: Instance, function_id: str) -> list[Figure]:
    """Measure a page of executions and usage, with many executions stored."""
    page = request("GET", f"/v1/functions/{function_id}/executions", instance.headers)
    usage = request("GET", f"/v1/functions/{function_id}/usage", instance.headers)
    stored = instance.call("GET", f"/functions/{function_id}/executions")["total"]
    with spending(instance) as listing:
        listed = median_of_3(instance.port, always(page), callers=32)
    with spending(instance) as using:
        used = median_of_3(instance.port, always(usage), callers=32)
    note = f"total says {stored} (capped at 5000); {listing.shares()}"
    return [
        Figure(name="list of 25 executions, 32 callers", value=listed.rate, unit="answers/s", target=2000, note=note),
        Figure(
            name="usage of a function, 32 callers", value=used.rate, unit="answers/s", target=1000, note=using.shares()
        ),
    ]
