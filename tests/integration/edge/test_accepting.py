"""Many calls that are being accepted report backpressure to the workers of the host, which then claim less."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from annals.app.services import Services
from annals.domain.execution import Execution
from annals.settings import Settings
from annals.store.content.inputs import KIND
from annals.store.coordination.direct_dispatch import DirectDispatch, DispatchSocket
from tests.integration.edge import given
from tests.integration.edge.client import Client


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings, executor_urls=(f"unix:{tmp_path}/executor.sock",))


async def test_many_asynchronous_calls_report_backpressure_to_workers(
    services: Services, plain: Client, tmp_path: Path
) -> None:
    answer, nothing = tmp_path / "executor.sock.pressure", bytes(8)
    function_id = await given.running_function(services, plain)

    await asyncio.gather(*(given.execute(plain, function_id) for _ in range(16)))
    accepted = await given.execute(plain, function_id, async_=True)
    assert accepted.status == 202
    assert answer.read_bytes() == nothing

    await asyncio.gather(*(given.execute(plain, function_id, async_=True) for _ in range(16)))
    assert answer.read_bytes() != nothing


async def test_recorded_call_is_dispatched_directly_to_a_worker(
    services: Services, plain: Client, settings: Settings
) -> None:
    heard = asyncio.Queue[DirectDispatch]()
    dispatch_socket = DispatchSocket.open(settings.executor_urls, heard.put_nowait)
    function_id = await given.running_function(services, plain)

    await given.execute(plain, function_id, async_=True, scheduledAt="2100-01-01T00:00:00.000+00:00")
    await given.execute(plain, function_id)
    accepted = await given.execute(plain, function_id, async_=True, body="payload")

    async with asyncio.timeout(60):
        direct_dispatch = await heard.get()
    assert heard.empty()
    (recorded_event,) = await services.log.reader.of_stream(direct_dispatch.stream)
    assert direct_dispatch.stream == Execution.stream(recorded_event.project, accepted.json["$id"])
    assert (direct_dispatch.version, direct_dispatch.position) == (1, recorded_event.position)
    assert direct_dispatch.correlation == recorded_event.event.metadata["correlation"]
    assert (
        services.log.mapper.decode(direct_dispatch.stream, 1, Execution.Requested.TOPIC, direct_dispatch.state)
        == recorded_event.event
    )
    assert direct_dispatch.input == await services.log.contents.read(direct_dispatch.stream, KIND)
    assert dispatch_socket is not None
    dispatch_socket.close()
