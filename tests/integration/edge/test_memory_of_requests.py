"""Answered requests leave nothing behind in the process."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from annals.app.edge.call import Call
from tests.integration.edge import given
from tests.integration.edge.client import Client


@pytest.fixture
def no_collector() -> Iterator[None]:
    """No run of the garbage collector, which frees what refers to itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_answered_requests_are_freed_without_the_garbage_collector(plain: Client, no_collector: None) -> None:
    await given.function(plain, functionId="f1")
    for path in ("/v1/functions/f1", "/v1/functions", "/v1/functions/none", "/v1/nothing"):
        await plain.get(path)
    await asyncio.sleep(0.1)

    assert [call for call in gc.get_objects() if issubclass(type(call), Call)] == []
