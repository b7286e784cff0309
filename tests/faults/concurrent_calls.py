"""Calls that are made at once or at a chosen distance, so that they race each other."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from annals.app.deployments.ranges import CHUNK
from tests.client import Client

Call = Callable[[], httpx.Response]
_LEAST_SECONDS = 0.0005


class TimingSearch:
    """A search for the delay at which one outcome turns into the other; the step halves at each turn."""

    def __init__(self, moment: float, step: float) -> None:
        self.moment, self._step = moment, step
        self._outcomes: list[bool] = []

    def record(self, *, too_early: bool) -> None:
        """Record the outcome of the trial at this moment, and move the moment."""
        if self._outcomes and too_early != self._outcomes[-1]:
            self._step = max(self._step / 2, _LEAST_SECONDS)
        self._outcomes.append(too_early)
        self.moment += self._step if too_early else -self._step

    @property
    def saw_both(self) -> bool:
        """True if both outcomes occurred."""
        return len(set(self._outcomes)) == 2


def ordered(pool: ThreadPoolExecutor, first: Call, second: Call, seconds: float) -> list[httpx.Response]:
    """Return the answers to two calls; the second is made so many seconds after the first, or before if negative."""

    def later(call: Call, seconds: float) -> httpx.Response:
        time.sleep(max(seconds, 0))
        return call()

    return [call.result() for call in (pool.submit(later, first, -seconds), pool.submit(later, second, seconds))]


def call_at_once(pool: ThreadPoolExecutor, *calls: Call, most: float = 0.0) -> list[httpx.Response]:
    """Return the answers to concurrent calls; each starts after a random delay of at most `most` seconds."""

    def later(call: Call) -> httpx.Response:
        time.sleep(random.random() ** 2 * most)
        return call()

    return [answer.result() for answer in [pool.submit(later, call) for call in calls]]


def statuses(answers: list[httpx.Response]) -> set[int]:
    return {answer.status_code for answer in answers}


def chunk(client: Client, function_id: str, own_id: str, whole: bytes, number: int) -> httpx.Response:
    """Send one chunk of an upload."""
    return client.http.send(chunk_request(client, function_id, own_id, whole, number))


def chunk_request(client: Client, function_id: str, own_id: str, whole: bytes, number: int) -> httpx.Request:
    start = number * CHUNK
    piece = whole[start : start + CHUNK]
    return client.http.build_request(
        "POST",
        f"/functions/{function_id}/deployments",
        files={"code": ("code.tar.gz", piece, "application/gzip")},
        data={"activate": "false"},
        headers={"content-range": f"bytes {start}-{start + len(piece) - 1}/{len(whole)}", "x-appwrite-id": own_id},
    )
