"""Retention removes old rows with their contents; a rebuild gives the same rows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from annals.domain.commands.deployments import delete_deployment
from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.store.content.inputs import Input
from annals.workers import cleanup as module
from annals.workers.cleanup import BlobGarbage, Cleanup, RetentionSweeper
from tests.integration.workers.world import META, PROJECT, SOURCE, World

LATER = timedelta(days=15)


def retention(world: World, *, days: int = 14) -> RetentionSweeper:
    return RetentionSweeper(world.log, execution_days=days)


def blob_garbage(world: World) -> BlobGarbage:
    return BlobGarbage(world.database, world.contents, grace=timedelta(hours=1))


async def some_executions(world: World, count: int, function_id: str = "f") -> int:
    incarnation = await world.built(function_id)
    worker = world.executions(await world.process_lease())
    for n in range(count):
        name = f"{function_id}{n}"
        await worker.run(await world.request(name, incarnation, function_id=function_id, given=Input(body=b"b")))
    return incarnation


async def ids(world: World) -> list[str]:
    rows = await world.database.rows("SELECT execution_id FROM executions ORDER BY sequence")
    return [row["execution_id"] for row in rows]


async def total(world: World, function_id: str = "f") -> int:
    return int(
        await world.database.value(
            "SELECT value FROM counters WHERE scope = %s AND name = 'executions'", (function_id,)
        )
    )  # fmt: skip


async def test_old_executions_are_removed_in_steps_with_their_contents(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STEP", 2)
    incarnation = await some_executions(world, 5)
    await world.request("waits", incarnation)

    steps = await retention(world).sweep_executions(datetime.now(UTC) + LATER)

    assert steps == 3
    assert await ids(world) == ["waits"]
    assert await total(world) == 1
    assert await world.database.value("SELECT count(*) FROM contents WHERE kind <> 'build'") == 0
    assert await retention(world).sweep_executions(datetime.now(UTC) + LATER) == 0


async def test_young_executions_stay_and_zero_days_keep_all(world: World) -> None:
    await some_executions(world, 2)

    await retention(world).sweep_executions(datetime.now(UTC))
    await retention(world, days=0).sweep_executions(datetime.now(UTC) + LATER)

    assert await ids(world) == ["f0", "f1"]


async def test_executions_of_a_deleted_function_are_removed_at_any_age(world: World) -> None:
    await some_executions(world, 2)
    await some_executions(world, 1, "g")
    await world.log.run(Function.delete, Function.key(PROJECT, "f"), meta=META)
    again = await world.built()
    await world.request("new", again)

    await cleanup(world).retire_function(Function.stream(PROJECT, "f"))

    assert await ids(world) == ["g0", "new"]
    assert await total(world) == 1
    assert await total(world, "g") == 1


async def test_retention_finds_executions_of_deleted_functions(world: World) -> None:
    await some_executions(world, 2)
    await world.log.run(Function.delete, Function.key(PROJECT, "f"), meta=META)

    await retention(world, days=0).sweep_executions(datetime.now(UTC))

    assert await ids(world) == []


async def test_old_deployments_are_removed_except_the_active_one(world: World) -> None:
    incarnation = await world.function(deployment_retention=3)
    kept_forever = await world.built("g")
    builds = world.builds(await world.process_lease())
    for name in ("d1", "d2"):
        await builds.run(await world.deployment(incarnation, name))
    await world.deployment(kept_forever, "d-g2", "g")
    await world.deployment(incarnation, "still-waiting")

    assert await retention(world).drop_deployments(datetime.now(UTC)) == 0
    assert await retention(world).drop_deployments(datetime.now(UTC) + timedelta(days=4)) == 1

    rows = await world.database.rows("SELECT deployment_id FROM deployments ORDER BY deployment_id")
    assert [row["deployment_id"] for row in rows] == ["d-g", "d-g2", "d2", "still-waiting"]
    assert (await world.functions())["deployment_id"] == "d2"


async def test_unnamed_blobs_are_removed_after_the_grace_period(world: World) -> None:
    blobs, now = world.contents.blobs, datetime.now(UTC)
    await world.deployment(await world.function())
    await world.log.run(Deployment.begin, Deployment.absent(PROJECT, "open"), meta=META, **an_upload(world, "open"))
    named = [SOURCE.key, "uploads/p/open/000000"]
    orphans = [
        "contents/p/of-an-append-that-never-was",
        "artefacts/p/d/1-aa/code.tar.gz",
        "sources/p/gone/1/code.tar.gz",
        "uploads/p/gone/000000",
    ]
    for key in named + orphans:
        await blobs.put(key, b"bytes")

    assert await blob_garbage(world).sweep(now) == []
    assert sorted(await blob_garbage(world).sweep(now + timedelta(hours=2))) == sorted(orphans)
    assert await blob_garbage(world).sweep(now + timedelta(days=2)) == ["uploads/p/open/000000"], "nobody completed it"


async def test_archives_and_instances_of_a_deleted_deployment_are_removed(world: World) -> None:
    blobs = world.contents.blobs
    await world.deployment(await world.function())
    await blobs.put(SOURCE.key, b"shared with no other")
    await blobs.put("sources/p/d/1/code.tar.gz", b"its own")
    await world.log.run(delete_deployment, Function.key(PROJECT, "f"), Deployment.key(PROJECT, "d"), meta=META)

    await cleanup(world).retire_deployment(Deployment.stream(PROJECT, "d"))
    await blob_garbage(world).sweep_deployment(PROJECT, "d", datetime.now(UTC) + timedelta(minutes=2))

    assert world.executor.canceled == ["d"]
    assert world.executor.retired == ["d"]
    assert [info.key async for info in blobs.list("sources")] == [SOURCE.key]


def cleanup(world: World) -> Cleanup:
    return Cleanup(world.log, world.executor, retention(world), blob_garbage(world))


def an_upload(world: World, deployment_id: str) -> dict[str, Any]:
    return {
        "project_id": PROJECT,
        "function_id": "f",
        "function_incarnation": world.incarnations["f"],
        "deployment_id": deployment_id,
        "type": "manual",
        "entrypoint": "main.js",
        "commands": "",
        "activate": False,
        "size": 99,
    }
