"""As-of reads and the history of one function with ten thousand versions."""

import asyncio
import time

import msgspec
import uvloop

from annals.domain.function import Function
from annals.store.log.follower import reached
from annals.store.log.log import Meta
from bench.client import Load, always, request
from bench.event_log import open_log
from bench.floors import median_of_3
from bench.instance import Instance
from bench.results import Figure

DEPTH, AT_ONCE = 10_000, 200
FUNCTION = "changed-often"


def figures(instance: Instance) -> list[Figure]:
    """Measure with one caller over HTTP; the floor is a read of the present state."""
    instance.function(FUNCTION, "node-22", "index.js")
    middle, seconds = uvloop.run(_change(instance))

    def measure(path: str) -> Load:
        message = request("GET", f"/v1{path}", instance.headers)
        return median_of_3(instance.port, always(message), callers=1)

    now, listed = measure(f"/functions/{FUNCTION}"), measure("/functions")
    newest = "queries%5B%5D=%7B%22method%22%3A%22orderDesc%22%2C%22attribute%22%3A%22position%22%7D"
    return [
        Figure(
            name=f"GET one function as of a position, {DEPTH:,} versions deep, p50",
            value=measure(f"/functions/{FUNCTION}?asOf={middle}").p50,
            unit="ms",
            floor=now.p50,
            target=10,
        ),
        Figure(
            name="list of functions as of a position, p50",
            value=measure(f"/functions?asOf={middle}").p50,
            unit="ms",
            floor=listed.p50,
            target=10,
        ),
        Figure(
            name=f"the newest 25 of {DEPTH:,} events in a function's history, p50",
            value=measure(f"/functions/{FUNCTION}/history?{newest}").p50,
            unit="ms",
            target=10,
        ),
        Figure(name="a page of a project's events, p50", value=measure("/events").p50, unit="ms"),
        Figure(
            name="recording and following: versions of rows that change",
            value=DEPTH / seconds,
            unit="events/s",
        ),
    ]


async def _change(instance: Instance) -> tuple[int, float]:
    """Record the changes, and return their middle position and the seconds until the followers had them all."""
    async with open_log(instance.database_url) as log:
        began, middle, last = time.perf_counter(), 0, 0
        key = Function.key(instance.headers["x-appwrite-project"], FUNCTION)
        for turn in range(DEPTH // AT_ONCE):
            function: Function = await log.load(key)
            for number in range(AT_ONCE):
                name = f"version {turn * AT_ONCE + number}"
                function.update(msgspec.structs.replace(function.configuration, name=name))
            last = (await log.record([function], meta=Meta(actor="bench"))).position
            middle = middle or (last if turn * 2 >= DEPTH // AT_ONCE else 0)
        caught_up = await asyncio.gather(
            *(reached(log.database, name, last, seconds=300) for name in ("row_versions", "audit"))
        )
        if not all(caught_up):
            raise TimeoutError("the followers did not reach the last position")
        return middle, time.perf_counter() - began
