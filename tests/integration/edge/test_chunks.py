"""Uploads in chunks (behaviours.md D)."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

from annals.app.deployments.ranges import CHUNK
from annals.app.services import Services
from annals.app.wiring import open_services
from annals.domain.deployment import Deployment
from annals.settings import Settings
from annals.store.content.blobs import Blob
from annals.telemetry.metrics import Metrics
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor
from tests.routes import edge_of

FILE = secrets.token_bytes(CHUNK + 1000)


async def send_chunk(client: Client, function_id: str, number: int, deployment_id: str = "", **fields: str) -> Reply:
    start = number * CHUNK
    piece = FILE[start : start + CHUNK]
    chosen = {"x_appwrite_id": deployment_id} if deployment_id else {}
    return await client.upload(
        f"/v1/functions/{function_id}/deployments",
        {"activate": "true", **fields},
        file=piece,
        content_range=f"bytes {start}-{start + len(piece) - 1}/{len(FILE)}",
        **chosen,
    )


async def blobs_of(services: Services, prefix: str) -> list[str]:
    return [blob.key async for blob in services.blobs.list(prefix)]


@pytest.mark.behaviours(65)
async def test_range_over_the_whole_file_is_a_plain_upload(key: Client) -> None:
    path = f"/v1/functions/{await given.function(key)}/deployments"
    size = len(given.SOURCE)
    for header in (f"bytes 0-{size - 1}/{size}", f"bytes 0-{size}/{size}"):
        reply = await key.upload(path, {"activate": "true"}, file=given.SOURCE, content_range=header)
        assert reply.status == 202
        assert reply.json["sourceSize"] == size


@pytest.mark.behaviours(66)
async def test_chunks_of_one_upload_share_an_id(services: Services, key: Client) -> None:
    function_id = await given.function(key)

    first = await send_chunk(key, function_id, 0)
    assert first.status == 202
    row = await _row(services, first.json["$id"])
    assert row["queued_at"] is None
    second = await send_chunk(key, function_id, 1, first.json["$id"])

    assert second.status == 202
    assert second.json["$id"] == first.json["$id"]
    assert second.json["sourceSize"] == len(FILE)
    assert (await _row(services, first.json["$id"]))["queued_at"] is not None
    assert (await given.download(key, function_id, first.json["$id"])).body == FILE
    assert await blobs_of(services, "uploads") == []


@pytest.mark.behaviours(67)
async def test_chunks_arrive_in_any_order_and_repeatedly(key: Client) -> None:
    function_id = await given.function(key)

    for number in (1, 1, 0):
        reply = await send_chunk(key, function_id, number, "chosen")
        assert reply.status == 202
    late = await send_chunk(key, function_id, 1, "chosen")

    assert late.status == 202
    assert late.json["sourceSize"] == len(FILE)
    assert (await given.download(key, function_id, "chosen")).body == FILE


async def test_chunks_arrive_concurrently_through_several_processes(
    settings: Settings, services: Services, plain: Client
) -> None:
    function_id = await given.function(plain)
    async with open_services(settings, FakeExecutor(), Metrics()) as others:
        edge = edge_of(others)
        other = Client(edge, plain.headers)

        replies = await asyncio.gather(
            *(send_chunk(client, function_id, number, "both") for client in (plain, other) for number in (0, 1))
        )

    assert [reply.status for reply in replies] == [202] * 4
    assert (await given.download(plain, function_id, "both")).body == FILE
    assert len(await blobs_of(services, "sources")) == 1
    events = await services.log.reader.of_stream(Deployment.stream("p1", "both"))
    assert [recorded_event.event.TOPIC for recorded_event in events] == [
        "deployment.upload_started",
        "deployment.source_stored",
        "deployment.build_queued",
    ]


@pytest.mark.behaviours(68)
async def test_chunk_for_another_function_is_refused(key: Client) -> None:
    first = await send_chunk(key, await given.function(key), 0)

    reply = await send_chunk(key, await given.function(key), 1, first.json["$id"])
    assert reply.error == (404, "deployment_not_found")


@pytest.mark.parametrize(
    "header",
    [
        *("items 0-5/6", "bytes 5-4/10", "bytes 0-11/10", "nonsense", f"bytes 0-9/{len(FILE)}"),
        *(f"bytes {CHUNK}-{len(FILE) - 1}/{len(FILE)}", f"bytes 7-{CHUNK + 6}/{len(FILE)}"),
    ],
)
async def test_unusable_range_is_refused(plain: Client, header: str) -> None:
    path = f"/v1/functions/{await given.function(plain)}/deployments"
    reply = await plain.upload(path, {"activate": "true"}, file=b"some bytes", content_range=header)

    assert reply.error == (400, "storage_invalid_content_range")
    assert (await plain.get(path)).json["total"] == 0


@pytest.mark.parametrize("end", ["deployment", "function", "dry_run"])
async def test_upload_has_no_parts_of_a_former_upload_with_its_id(services: Services, key: Client, end: str) -> None:
    path = f"/v1/functions/{await given.function(key, functionId='again')}"
    await send_chunk(key, "again", 1, "chosen")
    gone = path if end == "function" else f"{path}/deployments/chosen"
    assert (await key.send("DELETE", gone, query="dryRun=true")).status == 200
    assert await blobs_of(services, "uploads") == ["uploads/p1/chosen/000001"], "it was only tried"

    if end != "dry_run":
        assert (await key.delete(gone)).status == 204
        assert await blobs_of(services, "uploads") == []
    if end == "function":
        await given.function(key, functionId="again")
    await send_chunk(key, "again", 0, "chosen")

    assert ((await _row(services, "chosen"))["queued_at"] is None) == (end != "dry_run")


async def test_late_part_does_not_join_the_next_upload(services: Services, plain: Client) -> None:
    """The part was on its way when its upload was completed or deleted."""
    function_id = await given.function(plain)
    await send_chunk(plain, function_id, 1, "chosen")
    blobs, put_part = services.blobs, services.blobs.put_part

    async def first(*others: Callable[[], Awaitable[Reply]]) -> None:
        async def after_others(*args: Any, **options: Any) -> Blob:
            blobs.put_part = put_part  # type: ignore[method-assign]
            for other in others:
                await other()
            return await put_part(*args, **options)

        blobs.put_part = after_others  # type: ignore[method-assign]
        await send_chunk(plain, function_id, 1, "chosen")

    async def complete() -> Reply:
        return await send_chunk(plain, function_id, 0, "chosen")

    async def delete() -> Reply:
        return await plain.delete(f"/v1/functions/{function_id}/deployments/chosen")

    await first(complete)
    assert await blobs_of(services, "uploads") == []
    await delete()
    await send_chunk(plain, function_id, 1, "chosen")
    await first(delete)
    assert await blobs_of(services, "uploads/p1/chosen") == []


async def test_duplicate_without_a_source_is_refused(plain: Client) -> None:
    function_id = await given.function(plain)
    unfinished = (await send_chunk(plain, function_id, 0)).json["$id"]

    reply = await plain.post(f"/v1/functions/{function_id}/deployments/duplicate", deploymentId=unfinished)
    assert reply.error == (404, "deployment_not_found")


async def _row(services: Services, deployment_id: str) -> dict[str, datetime | None]:
    row = await services.database.row(
        "SELECT queued_at FROM deployments WHERE project_id = 'p1' AND deployment_id = %s", (deployment_id,)
    )
    assert row is not None
    return row
