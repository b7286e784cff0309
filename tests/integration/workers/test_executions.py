"""A waiting execution is claimed once, runs the deployment that is active then, and its outcome is recorded once."""

import asyncio
from datetime import UTC, datetime

import pytest

from annals.domain.commands.executions import cancel_execution, lose_execution
from annals.domain.errors import FunctionNotFound
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.ports import Outcome
from annals.domain.variables import Variable
from annals.store.content.inputs import Input
from tests.integration.workers.valkey import until
from tests.integration.workers.world import META, PROJECT, World


async def test_execution_runs_with_its_input_and_records_the_answer(world: World) -> None:
    incarnation = await world.built()
    given = Input(
        body=b"\x00payload", headers=[("Cookie", "c=1"), ("x-appwrite-trigger", "forged")], client_ip="10.0.0.9"
    )
    stream = await world.request("x1", incarnation, given=given)

    await world.executions(await world.process_lease()).run(stream)

    [run] = world.executor.runs
    headers = dict(run.headers)
    assert (run.method, run.path, run.body, run.epoch) == ("PUT", "/a?b=1", b"\x00payload", 1)
    assert (headers["cookie"], headers["x-appwrite-trigger"], headers["x-appwrite-user-id"]) == ("c=1", "http", "u1")
    assert headers["x-appwrite-key"].startswith("ephemeral_")
    assert headers["x-appwrite-client-ip"] == "10.0.0.9"
    row = await world.execution("x1")
    assert (row["status"], row["response_status_code"], row["duration_ms"]) == ("completed", 200, 12)
    assert row["response_headers"] == '[{"name":"content-type","value":"text/plain"}]'
    assert await world.kept(stream, "logs") == "said hello"
    assert await world.topics(stream) == ["execution.requested", "execution.claimed", "execution.completed"]


async def test_execution_with_damaged_input_does_not_run(world: World) -> None:
    given = Input(body=b"a body " * 10_000, headers=[], client_ip="")
    stream = await world.request("x1", await world.built(), given=given)
    blob = str(await world.log.database.value("SELECT blob FROM contents WHERE stream = %s", (stream,)))
    sealed = bytearray(await world.contents.blobs.get(blob))
    sealed[-1] ^= 1
    await world.contents.blobs.put(blob, bytes(sealed))

    await world.executions(await world.process_lease()).run(stream)

    row = await world.execution("x1")
    assert (row["status"], row["reason"]) == ("failed", "error")
    assert f"The input of {stream} cannot be given" in row["message"]
    assert world.executor.runs == []


async def test_execution_is_claimed_by_one_of_two_workers(world: World) -> None:
    incarnation = await world.built()
    streams = [await world.request(f"x{n}", incarnation) for n in range(20)]
    first, second = world.executions(await world.process_lease()), world.executions(await world.process_lease())

    await asyncio.gather(*(worker.run(stream) for stream in streams for worker in (first, second, first)))

    assert sorted(run.execution for run in world.executor.runs) == sorted(s.split(":")[2] for s in streams)
    for stream in streams:
        assert await world.topics(stream) == ["execution.requested", "execution.claimed", "execution.completed"]


async def test_late_outcome_is_refused(world: World) -> None:
    """A worker that was paused beyond its lease comes back with an answer."""
    stream = await world.request("x1", await world.built())
    world.executor.go.clear()
    running = asyncio.create_task(world.executions(await world.process_lease()).run(stream))
    await until(lambda: world.executor.runs)
    await world.log.run(lose_execution, Execution.key(PROJECT, "x1"), meta=META, epoch=1, now=datetime.now(UTC))

    world.executor.go.set()
    await running

    row = await world.execution("x1")
    assert (row["status"], row["reason"], row["response_status_code"]) == ("failed", "worker_lost", 500)
    assert (await world.topics(stream))[-1] == "execution.failed"


async def test_canceled_execution_does_not_run(world: World) -> None:
    incarnation = await world.built()
    stream = await world.request("x1", incarnation)
    await world.log.run(
        cancel_execution, Execution.key(PROJECT, "x1"), meta=META, function_id="f", incarnation=incarnation
    )

    await world.executions(await world.process_lease()).run(stream)

    assert world.executor.runs == []
    assert (await world.execution("x1"))["reason"] == "canceled"


async def test_execution_without_an_active_deployment_fails_with_the_reason(world: World) -> None:
    stream = await world.request("x1", await world.function())

    await world.executions(await world.process_lease()).run(stream)

    row = await world.execution("x1")
    assert (row["status"], row["reason"], row["response_status_code"]) == ("failed", "deployment_missing", 0)
    assert "active deployment" in row["message"]
    assert world.executor.runs == []


async def test_unreadable_variable_fails_execution_and_build_with_its_name(world: World) -> None:
    stream = await world.request("x1", await world.built())
    waiting = await world.deployment(world.incarnations["f"], "d2")
    sealed = await world.vault.seal(PROJECT, Function.stream(PROJECT, "f"), "v", "a value")
    variable = Variable(variable_id="v", key="TOKEN", sealed=sealed, secret=True)
    await world.log.run(Function.add_variable, Function.key(PROJECT, "f"), meta=META, variable=variable)
    await world.database.execute("UPDATE variables SET sealed = regexp_replace(sealed, '^v1[.][^.]+', 'v1.gone')")
    built = len(world.executor.builds)

    await world.executions(await world.process_lease()).run(stream)
    await world.builds(await world.process_lease()).run(waiting)

    execution, deployment = await world.execution("x1"), await world.deployed("d2")
    for row in (execution, deployment):
        assert (row["status"], row["reason"]) == ("failed", "variable_unreadable")
    for text in (execution["message"], await world.kept(waiting, "build")):
        assert "The variable TOKEN cannot be read" in text
    assert world.executor.runs == []
    assert len(world.executor.builds) == built


async def test_execution_of_a_deleted_function_does_not_run(world: World) -> None:
    stream = await world.request("x1", await world.built())
    await world.log.run(Function.delete, Function.key(PROJECT, "f"), meta=META)
    await world.built()  # another function with the same id

    await world.executions(await world.process_lease()).run(stream)

    assert world.executor.runs == []
    assert (await world.topics(stream))[-1] == "execution.failed"


@pytest.mark.parametrize("again", [False, True])
async def test_call_recorded_after_its_functions_deletion_is_refused(world: World, again: bool) -> None:
    incarnation = await world.built()
    await world.log.run(Function.delete, Function.key(PROJECT, "f"), meta=META)
    if again:
        await world.built()

    for worker in ("", "somebody"):
        with pytest.raises(FunctionNotFound):
            await world.request("late", incarnation, given=Input(body=b"kept", headers=[], client_ip=""), worker=worker)

    stream = Execution.stream(PROJECT, "late")
    assert await world.topics(stream) == []
    left = "SELECT stream_id FROM executions UNION ALL SELECT stream FROM contents WHERE stream = %(stream)s"
    assert await world.log.database.rows(left, {"stream": stream}) == []


@pytest.mark.parametrize("reason", ["out_of_memory", "crashed", "response_too_large"])
async def test_end_by_the_executor_is_recorded_with_its_reason(world: World, reason: str) -> None:
    stream = await world.request("x1", await world.built())
    world.executor.outcome = Outcome(status_code=500, reason=reason, message="It is over.", logs="so far")  # type: ignore[arg-type]

    await world.executions(await world.process_lease()).run(stream)

    row = await world.execution("x1")
    assert (row["status"], row["reason"], row["message"]) == ("failed", reason, "It is over.")
    assert await world.kept(stream, "logs") == "so far"


async def test_execution_fails_without_an_executor(world: World) -> None:
    stream = await world.request("x1", await world.built())
    world.executor.lost = True

    await world.executions(await world.process_lease()).run(stream)

    row = await world.execution("x1")
    assert (row["status"], row["reason"], row["response_status_code"]) == ("failed", "runtime_unavailable", 500)


async def test_worker_waits_for_a_restarting_executor(world: World) -> None:
    stream = await world.request("x1", await world.built())
    world.executor.unreachable = True
    running = asyncio.create_task(world.executions(await world.process_lease()).run(stream))
    await until(lambda: _is(world, "x1", "processing"))

    world.executor.unreachable = False
    await running

    assert (await world.execution("x1"))["status"] == "completed"
    assert len(world.executor.runs) == 1


async def test_interrupted_run_is_stopped_and_ended(world: World) -> None:
    stream = await world.request("x1", await world.built())
    world.executor.go.clear()
    running = asyncio.create_task(world.executions(await world.process_lease()).run(stream))
    await until(lambda: world.executor.runs)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert world.executor.canceled == ["x1"]
    assert (await world.execution("x1"))["reason"] == "worker_lost"


async def _is(world: World, execution_id: str, status: str) -> bool:
    return bool((await world.execution(execution_id))["status"] == status)
