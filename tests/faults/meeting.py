"""Calls that meet: made at once, each within a moment of its own."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from annals.app.deployments.ranges import CHUNK
from tests.client import Client

Call = Callable[[], httpx.Response]
_LEAST_SECONDS = 0.0005


class Approach:
    """Moments that come nearer, trial by trial, to where one outcome turns into the other: far first, until it does."""

    def __init__(self, moment: float, step: float) -> None:
        self.moment, self._step = moment, step
        self._told: list[bool] = []

    def told(self, *, too_early: bool) -> None:
        """What came of the trial at this moment."""
        if self._told and too_early != self._told[-1]:
            self._step = max(self._step / 2, _LEAST_SECONDS)
        self._told.append(too_early)
        self.moment += self._step if too_early else -self._step

    @property
    def both(self) -> bool:
        """Whether each outcome was seen."""
        return len(set(self._told)) == 2


def ordered(pool: ThreadPoolExecutor, first: Call, second: Call, seconds: float) -> list[httpx.Response]:
    """The answers to two calls, of which the second is made so many seconds after the first, or before it."""

    def later(call: Call, seconds: float) -> httpx.Response:
        time.sleep(max(seconds, 0))
        return call()

    return [one.result() for one in (pool.submit(later, first, -seconds), pool.submit(later, second, seconds))]


def meet(pool: ThreadPoolExecutor, *calls: Call, most: float = 0.0) -> list[httpx.Response]:
    """The answers to calls that are made at once, each within a moment of its own."""

    def later(call: Call) -> httpx.Response:
        time.sleep(random.random() ** 2 * most)
        return call()

    return [one.result() for one in [pool.submit(later, call) for call in calls]]


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
