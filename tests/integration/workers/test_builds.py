"""A build is claimed once, followed while it runs, and ended once; late results are refused."""

import asyncio

from annals.domain.commands.deployments import cancel_build, delete_deployment, recover_build
from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.ports import BuildOutcome
from tests.integration.workers.valkey import until
from tests.integration.workers.world import META, PROJECT, SOURCE, World

KEY = Deployment.key(PROJECT, "d")


async def test_build_becomes_ready_and_active_with_its_whole_log(world: World) -> None:
    stream = await world.deployment(await world.function())

    await world.builds(await world.process_lease()).run(stream)

    [job] = world.executor.builds
    assert (job.source, job.commands, job.epoch) == (SOURCE, "npm install", 1)
    assert job.limits.memory_mb == 1024
    assert job.environment["APPWRITE_FUNCTION_MEMORY"] == "1024"
    assert job.environment["APPWRITE_FUNCTION_API_KEY"].startswith("ephemeral_")
    row = await world.deployed()
    assert (row["status"], row["artefact_key"], row["build_duration"]) == ("ready", job.output_key, 2)
    assert (await world.functions())["deployment_id"] == "d"
    assert await world.kept(stream, "build") == "installing\npacking\nThe deployment is ready.\n"
    assert await world.build_log() == ""
    assert await world.topics(stream) == [
        "deployment.upload_started",
        "deployment.source_stored",
        "deployment.build_queued",
        "deployment.build_claimed",
        "deployment.build_started",
        "deployment.build_succeeded",
    ]


async def test_log_of_a_running_build_can_be_read(world: World) -> None:
    stream = await world.deployment(await world.function())
    world.executor.go.clear()

    building = asyncio.create_task(world.builds(await world.process_lease()).run(stream))

    await until(lambda: _shows(world, "installing\npacking\n"))
    assert (await world.deployed())["status"] == "building"
    world.executor.go.set()
    await building
    assert (await world.deployed())["status"] == "ready"


async def test_build_is_claimed_by_one_of_two_workers(world: World) -> None:
    stream = await world.deployment(await world.function())
    first, second = world.builds(await world.process_lease()), world.builds(await world.process_lease())

    await asyncio.gather(first.run(stream), second.run(stream), first.run(stream))

    assert len(world.executor.builds) == 1


async def test_log_of_a_failed_build_ends_with_the_reason(world: World) -> None:
    stream = await world.deployment(await world.function())
    world.executor.build_outcome = BuildOutcome(reason="empty_source", message="Error: No source code found.")

    await world.builds(await world.process_lease()).run(stream)

    row = await world.deployed()
    assert (row["status"], row["reason"], row["build_size"]) == ("failed", "empty_source", 0)
    assert (await world.kept(stream, "build")).endswith("packing\nError: No source code found.\n")
    assert (await world.functions())["deployment_id"] == ""


async def test_canceled_build_is_killed_and_never_restarted(world: World) -> None:
    stream = await world.deployment(await world.function())
    builds = world.builds(await world.process_lease())
    world.executor.go.clear()
    building = asyncio.create_task(builds.run(stream))
    await until(lambda: _shows(world, "installing\npacking\n"))
    await world.log.run(cancel_build, KEY, meta=META, function_id="f", seconds=3)

    await builds.stop(stream)
    await building

    assert (await world.deployed())["status"] == "canceled"
    assert await world.build_log() == "installing\npacking\n\nBuild has been canceled.\n"
    assert (await world.topics(stream))[-1] == "deployment.build_canceled"


async def test_build_result_after_the_cancel_is_refused(world: World) -> None:
    stream = await world.deployment(await world.function())
    world.executor.go.clear()
    building = asyncio.create_task(world.builds(await world.process_lease()).run(stream))
    await until(lambda: _shows(world, "installing\npacking\n"))
    await world.log.run(cancel_build, KEY, meta=META, function_id="f", seconds=3)

    world.executor.go.set()
    await building

    assert (await world.deployed())["status"] == "canceled"
    assert (await world.functions())["deployment_id"] == ""


async def test_build_canceled_before_its_first_output_is_killed_at_that_output(world: World) -> None:
    stream = await world.deployment(await world.function())
    world.executor.go.clear()
    world.executor.says = []
    building = asyncio.create_task(world.builds(await world.process_lease()).run(stream))
    await until(lambda: world.executor.builds)
    await world.log.run(cancel_build, KEY, meta=META, function_id="f", seconds=0)

    await world.executor.speak("d", "too late\n")
    await building

    assert world.executor.canceled == ["d"]
    assert await world.build_log() == "\nBuild has been canceled.\n"


async def test_late_result_of_a_lost_worker_is_refused(world: World) -> None:
    stream = await world.deployment(await world.function())
    world.executor.go.clear()
    lost = asyncio.create_task(world.builds(await world.process_lease()).run(stream))
    await until(lambda: _shows(world, "installing\npacking\n"))
    await world.log.run(recover_build, KEY, meta=META, epoch=1, attempts=3)
    second = asyncio.create_task(world.builds(await world.process_lease()).run(stream))
    await until(lambda: len(world.executor.builds) == 2)

    world.executor.go.set()
    await asyncio.gather(lost, second)

    row = await world.deployed()
    assert (row["status"], row["epoch"], row["artefact_key"]) == ("ready", 2, world.executor.builds[1].output_key)


async def test_build_without_an_executor_is_queued_again_until_its_last_attempt(world: World) -> None:
    stream = await world.deployment(await world.function())
    builds = world.builds(await world.process_lease())
    world.executor.lost = True

    await builds.run(stream)
    assert (await world.deployed())["status"] == "waiting"
    await builds.run(stream)
    await builds.run(stream)

    row = await world.deployed()
    assert (row["status"], row["reason"]) == ("failed", "executor_lost")
    assert "executor could not be reached" in await world.kept(stream, "build")


async def test_interrupted_build_is_handed_back(world: World) -> None:
    stream = await world.deployment(await world.function())
    world.executor.go.clear()
    building = asyncio.create_task(world.builds(await world.process_lease()).run(stream))
    await until(lambda: world.executor.builds)

    building.cancel()
    await asyncio.gather(building, return_exceptions=True)

    assert world.executor.canceled == ["d"]
    assert (await world.deployed())["status"] == "waiting"


async def test_deleted_deployment_or_function_leaves_no_piece_of_a_build_log(world: World) -> None:
    incarnation = await world.function()
    world.executor.go.clear()
    builds = world.builds(await world.process_lease())
    first = await world.deployment(incarnation, "d1")
    second = await world.deployment(incarnation, "d2")
    running = [asyncio.create_task(builds.run(first)), asyncio.create_task(builds.run(second))]
    await until(lambda: _shows(world, "installing\npacking\n", "d2"))
    await world.log.run(
        delete_deployment, Function.key(PROJECT, "f"), Deployment.key(PROJECT, "d1"), meta=META
    )  # fmt: skip
    await world.log.run(Function.delete, Function.key(PROJECT, "f"), meta=META)

    world.executor.go.set()
    await asyncio.gather(*running)

    assert await world.database.value("SELECT count(*) FROM build_logs") == 0
    assert await world.database.value("SELECT count(*) FROM contents") == 0
    assert await world.database.value("SELECT count(*) FROM deployments") == 0


async def test_long_log_keeps_its_end(world: World) -> None:
    stream = await world.deployment(await world.function())
    world.executor.says = [f"{n:06d}".ljust(9_999, ".") + "\n" for n in range(150)]

    await world.builds(await world.process_lease()).run(stream)

    kept = await world.kept(stream, "build")
    assert len(kept) == 1_000_000
    assert kept.startswith("[WARNING] Logs truncated.")
    assert "000149" in kept
    assert "000040" not in kept
    assert kept.endswith("The deployment is ready.\n")


async def _shows(world: World, text: str, deployment_id: str = "d") -> bool:
    return await world.build_log(deployment_id) == text
