"""Executions that run later, and reading and deleting of executions (behaviours.md G)."""

from datetime import timedelta

import pytest

from annals.app.services import Services
from annals.app.wire import wire_date
from annals.domain.execution import Execution
from annals.store.content.inputs import open_input
from tests.integration.edge import given
from tests.integration.edge.client import Client


@pytest.mark.behaviours(114)
async def test_asynchronous_execution_waits_with_its_request(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)

    reply = await given.execute(key, function_id, async_=True, body="hi", headers={"Cookie": "secret"}, path="/x")

    assert reply.status == 202
    answer = reply.json
    assert (answer["status"], answer["responseStatusCode"], answer["duration"]) == ("waiting", 0, 0)
    assert answer["responseBody"] == answer["logs"] == answer["errors"] == ""
    stream = Execution.stream("p1", answer["$id"])
    raw = await services.log.contents.read(stream, "input")
    kept = await open_input(services.vault, "p1", stream, raw)
    assert (kept.body, kept.headers, kept.client_ip) == (b"hi", [("cookie", "secret")], "203.0.113.7")
    assert b"secret" not in raw
    assert (await key.get(f"/v1/functions/{function_id}/executions/{answer['$id']}")).json == answer
    assert (await key.delete(f"/v1/functions/{function_id}/executions/{answer['$id']}")).error == (
        400,
        "execution_in_progress",
    )


@pytest.mark.behaviours(116, 117)
async def test_time_to_run_is_a_full_minute_ahead_and_asynchronous(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)
    now = services.now()
    tomorrow = wire_date(now.replace(second=0, microsecond=0) + timedelta(days=1))

    assert (await given.execute(key, function_id, scheduledAt=tomorrow)).error == (400, "general_bad_request")
    wrong = [
        wire_date(now + timedelta(seconds=30)),
        wire_date(now.replace(second=0, microsecond=0) - timedelta(hours=1)),
        "garbage",
        tomorrow.replace(":00.000", ":02.000"),
        "10000-01-01",
    ]
    for text in wrong:
        reply = await given.execute(key, function_id, scheduledAt=text, async_=True)
        assert reply.error == (400, "general_bad_request")


@pytest.mark.behaviours(118, 125, 126)
async def test_scheduled_execution_is_kept_until_its_time(services: Services, key: Client) -> None:
    function_id, other = await given.running_function(services, key), await given.function(key)
    at = services.now().replace(second=0, microsecond=0) + timedelta(hours=10)
    offset = at.isoformat(timespec="minutes").replace("+00:00", "+00:00")

    reply = await given.execute(key, function_id, scheduledAt=offset, async_=True)

    assert reply.status == 202
    answer = reply.json
    assert (answer["status"], answer["trigger"], answer["scheduledAt"]) == ("scheduled", "schedule", wire_date(at))
    path = f"executions/{answer['$id']}"
    assert (await key.delete(f"/v1/functions/{other}/{path}")).error == (404, "execution_not_found")
    assert (await key.get(f"/v1/functions/{function_id}/{path}")).json["status"] == "scheduled"
    assert (await key.delete(f"/v1/functions/{function_id}/{path}")).status == 204
    assert (await key.delete(f"/v1/functions/{function_id}/{path}")).error == (404, "execution_not_found")


async def test_scheduled_execution_that_is_claimed_can_no_longer_be_canceled(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    at = services.now().replace(second=0, microsecond=0) + timedelta(hours=10)
    made = (await given.execute(plain, function_id, scheduledAt=wire_date(at), async_=True)).json["$id"]
    await services.log.run(Execution.claim, Execution.key("p1", made), meta=given.META, worker=services.holder())

    reply = await plain.delete(f"/v1/functions/{function_id}/executions/{made}")
    assert reply.error == (400, "execution_in_progress")


@pytest.mark.behaviours(120, 129)
async def test_list_shows_all_of_a_function_oldest_first(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)
    made = [(await given.execute(key, function_id, method=method)).json["$id"] for method in ("GET", "POST", "GET")]
    waiting = (await given.execute(key, function_id, async_=True)).json["$id"]
    path = f"/v1/functions/{function_id}/executions"

    everything = await key.get(path)
    assert given.ids(everything, "executions") == [*made, waiting]
    assert everything.json["total"] == 4
    for attribute, value, wanted in (
        ("status", "completed", made),
        ("status", "waiting", [waiting]),
        ("trigger", "http", [*made, waiting]),
        ("requestMethod", "GET", [made[0], made[2]]),
    ):
        query = {"method": "equal", "attribute": attribute, "values": [value]}
        reply = await key.get(path, [query])
        assert given.ids(reply, "executions") == wanted
        assert reply.json["total"] == len(wanted)


@pytest.mark.behaviours(123, 124, 127)
async def test_execution_belongs_to_its_function(services: Services, key: Client) -> None:
    function_id, other = await given.running_function(services, key), await given.function(key)
    made = (await given.execute(key, function_id)).json["$id"]

    assert (await key.get(f"/v1/functions/{other}/executions/{made}")).error == (404, "execution_not_found")
    assert (await key.delete(f"/v1/functions/{function_id}/executions/{made}")).status == 204
    assert (await key.get(f"/v1/functions/{function_id}/executions/{made}")).error == (404, "execution_not_found")


async def test_guest_cannot_delete_executions(services: Services, plain: Client, anonymous: Client) -> None:
    function_id = await given.running_function(services, plain)
    made = (await given.execute(plain, function_id)).json["$id"]

    guest = anonymous.with_(x_appwrite_project="p1")
    assert (await guest.delete(f"/v1/functions/{function_id}/executions/{made}")).error == (404, "function_not_found")


async def test_run_without_a_process_is_shown_as_failed_after_its_timeout(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain, timeout=1)
    path = f"/v1/functions/{function_id}/executions"
    lost, held = [(await given.execute(plain, function_id, async_=True)).json["$id"] for _ in range(2)]
    for execution_id, worker in ((lost, "gone"), (held, services.holder())):
        key = Execution.key("p1", execution_id)
        await services.log.run(Execution.claim, key, meta=given.META, worker=worker)
    await services.database.execute("UPDATE executions SET started_at = started_at - interval '5 seconds'")

    assert {row["$id"]: row["status"] for row in (await plain.get(path)).json["executions"]} == {
        lost: "failed",
        held: "processing",
    }
    for status, wanted in (("failed", [lost]), ("processing", [lost, held])):
        query = {"method": "equal", "attribute": "status", "values": [status]}
        assert given.ids(await plain.get(path, [query]), "executions") == wanted
    assert (await plain.get(f"{path}/{lost}")).json["status"] == "failed"
    assert (await plain.delete(f"{path}/{held}")).error == (400, "execution_in_progress")
    assert (await plain.delete(f"{path}/{lost}")).status == 204
