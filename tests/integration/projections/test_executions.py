"""The read model of executions."""

import json
from datetime import UTC, datetime

from annals.domain.commands import executions as commands
from annals.domain.commands.executions import sweep_executions
from annals.domain.execution import CallRequest, Execution, Header
from annals.domain.retention import Retention
from annals.store.content.contents import Content
from tests.integration.projections.history import META, History, P


async def test_accepted_call_returns_its_row(history: History) -> None:
    await history.function()
    request = CallRequest(method="GET", path="/a?b=1", headers=[Header("host", "h")], user_id="u1", input_size=3)

    recorded = await history.request("e1", request=request)

    (row,) = recorded.rows["executions"]
    assert row == await history.row("executions", "e1")
    assert (row["status"], row["trigger"], row["response_status_code"], row["user_id"]) == ("waiting", "http", 0, "u1")
    assert (row["request_method"], row["request_path"]) == ("GET", "/a?b=1")
    assert json.loads(row["request_headers"]) == [{"name": "host", "value": "h"}]
    assert (row["function_sequence"], row["started_at"]) == (history.incarnations["f"], None)


async def test_synchronous_call_is_processing_and_ends_with_its_run(history: History) -> None:
    await history.function()
    await history.request("e1", worker="api-1")
    started = await history.the("executions", "e1")
    assert (started["status"], started["worker"], started["epoch"]) == ("processing", "api-1", 1)
    assert started["started_at"] == started["created_at"]

    (row,) = (await history.complete("e1", run_ms=1500, logs_digest="x", logs_size=5)).rows["executions"]

    assert (row["status"], row["reason"], row["response_status_code"]) == ("completed", "", 200)
    assert (row["deployment_id"], row["function_version"], row["environment_digest"]) == ("d1", 3, "abc")
    assert (row["duration_ms"], row["start_ms"], row["queue_ms"], row["cold"]) == (1500, 20, 4, True)
    assert (row["logs_version"], row["logs_size"], row["specification"]) == (2, 5, "s-1vcpu-512mb")
    assert row["updated_at"] > row["created_at"]


async def test_asynchronous_call_is_claimed_and_may_fail_without_a_run(history: History) -> None:
    await history.function()
    await history.request("e1")
    await history.claim("e1", "w1")
    row = await history.the("executions", "e1")
    assert (row["status"], row["worker"], row["epoch"]) == ("processing", "w1", 1)
    assert row["started_at"] is not None

    lost = await history.log.run(
        commands.lose_execution, Execution.key(P, "e1"), meta=META, epoch=1, now=datetime.now(UTC)
    )

    (row,) = lost.rows["executions"]
    assert (row["status"], row["reason"], row["response_status_code"]) == ("failed", "worker_lost", 500)
    assert row["message"].startswith("The worker that ran this execution was lost")
    assert row["logs_version"] == 0


async def test_scheduled_call_shows_its_time_and_can_be_deleted(history: History) -> None:
    await history.function()
    due = datetime(2040, 1, 1, tzinfo=UTC)
    (row,) = (await history.request("e1", trigger="schedule", scheduled_at=due)).rows["executions"]
    assert (row["status"], row["scheduled_at"]) == ("scheduled", due)

    incarnation = history.incarnations["f"]
    await history.log.run(
        commands.delete_execution,
        Execution.key(P, "e1"),
        meta=META,
        function_id="f",
        incarnation=incarnation,
        stale=False,
    )

    assert await history.row("executions", "e1") is None
    assert await history.count("executions") == 0


async def test_canceled_call_is_failed_with_that_reason(history: History) -> None:
    await history.function()
    await history.request("e1")
    key = Execution.key(P, "e1")
    incarnation = history.incarnations["f"]

    (row,) = (
        await history.log.run(
            commands.cancel_execution, key, meta=META, function_id="f", incarnation=incarnation
        )
    ).rows["executions"]  # fmt: skip

    assert (row["status"], row["reason"], row["response_status_code"]) == ("failed", "canceled", 0)


async def test_text_that_postgres_cannot_hold_does_not_lose_an_outcome(history: History) -> None:
    await history.function()
    await history.request("e1", worker="api-1")
    execution = await history.log.load(Execution.key(P, "e1"))
    execution.fail(1, "start_failed", "printed \x00 and died", now=datetime.now(UTC), status_code=500)

    (row,) = (await history.log.record([execution], meta=META)).rows["executions"]

    assert row["message"] == "printed � and died"


async def test_sweep_removes_old_ended_executions_and_their_contents(history: History) -> None:
    await history.function()
    positions = {}
    for name in ("e1", "e2", "e3"):
        requested = await history.request(name, worker="api-1")
        positions[name] = requested.position
    for name in ("e1", "e3"):
        execution = await history.log.load(Execution.key(P, name))
        execution.fail(1, "error", "", now=datetime.now(UTC), status_code=500, logs_digest="x", logs_size=3)
        await history.log.record([execution], meta=META, contents=[Content(execution.id, "logs", b"abc")])

    await history.log.run(
        sweep_executions,
        Retention.key(P),
        meta=META,
        project_id=P,
        function_id="f",
        incarnation=history.incarnations["f"],
        up_to=positions["e2"],
        reason="age",
    )

    left = {row["execution_id"] for row in await history.database.rows("SELECT execution_id FROM executions")}
    assert left == {"e2", "e3"}  # e2 has not ended, e3 is younger
    assert await history.count("executions") == 2
    contents = await history.database.rows("SELECT stream FROM contents")
    assert [row["stream"] for row in contents] == ["execution:p:e3"]


async def test_deletion_removes_stored_contents(history: History) -> None:
    await history.function()
    await history.deploy("d1")
    build_log = Content("deployment:p:d1", "build", b"log")
    await history.log.contents.put(build_log, 3)
    for name in ("e1", "e2"):
        await history.request(name, worker="api-1")
        execution = await history.log.load(Execution.key(P, name))
        execution.fail(1, "error", "", now=datetime.now(UTC), status_code=500, logs_digest="x", logs_size=3)
        await history.log.record([execution], meta=META, contents=[Content(execution.id, "logs", b"abc")])

    async def kept() -> set[str]:
        return {row["stream"] for row in await history.database.rows("SELECT stream FROM contents")}

    await history.log.run(
        commands.delete_execution,
        Execution.key(P, "e1"),
        meta=META,
        function_id="f",
        incarnation=history.incarnations["f"],
        stale=False,
    )
    assert await kept() == {"deployment:p:d1", "execution:p:e2"}

    await history.delete_function()
    assert await kept() == {"execution:p:e2"}  # its executions are swept later


async def test_executions_of_a_deleted_function_are_swept_in_any_status(history: History) -> None:
    await history.function()
    incarnation = history.incarnations["f"]
    last = await history.request("e1")
    await history.delete_function()
    await history.function()
    await history.request("e2")

    await history.log.run(
        sweep_executions,
        Retention.key(P),
        meta=META,
        project_id=P,
        function_id="f",
        incarnation=incarnation,
        up_to=last.position,
        reason="function_deleted",
    )

    left = [row["execution_id"] for row in await history.database.rows("SELECT execution_id FROM executions")]
    assert left == ["e2"]
    assert await history.count("executions") == 1
