"""A crowd of calls that are being accepted lets the workers of the host know: they take less meanwhile."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from annals.app.services import Services
from annals.app.settings import Settings
from tests.integration.edge import given
from tests.integration.edge.client import Client


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings, executor_urls=(f"unix:{tmp_path}/executor.sock",))


async def test_only_a_crowd_of_asynchronous_calls_holds_the_workers_back(
    services: Services, plain: Client, tmp_path: Path
) -> None:
    told, nothing = tmp_path / "executor.sock.pressure", bytes(8)
    function_id = await given.running_function(services, plain)

    await asyncio.gather(*(given.execute(plain, function_id) for _ in range(16)))
    accepted = await given.execute(plain, function_id, async_=True)
    assert accepted.status == 202
    assert told.read_bytes() == nothing

    await asyncio.gather(*(given.execute(plain, function_id, async_=True) for _ in range(16)))
    assert told.read_bytes() != nothing
