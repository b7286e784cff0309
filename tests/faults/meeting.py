"""Calls that meet: made at once, each within a moment of its own."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from annals.app.deployments.ranges import CHUNK
from tests.client import Client


def meet(pool: ThreadPoolExecutor, *calls: Callable[[], httpx.Response], most: float = 0.0) -> list[httpx.Response]:
    """The answers to calls that are made at once, each within a moment of its own."""

    def later(call: Callable[[], httpx.Response]) -> httpx.Response:
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
