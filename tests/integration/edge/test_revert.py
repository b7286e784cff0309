"""Reverts over the wire: differences, configurations of executions, reverted and restored functions, and dry runs."""

import random
from typing import Any

import pytest

from annals.app.services import Services
from annals.domain.function import Function
from annals.domain.redaction import describe
from tests.client import form
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.test_as_of import Life


async def now(services: Services) -> int:
    return await services.log.reader.position()


async def state(services: Services, function_id: str, position: int | None = None) -> dict[str, Any]:
    """Return the state of a function that a revert restores."""
    at = await now(services) if position is None else position
    function = await services.log.reader.aggregate_at(Function.absent("p1", function_id), at)
    whole = describe(function)
    return {name: value for name, value in whole.items() if name not in {"deploymentCreatedAt", "deleted"}}


def answer(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [event["type"] for event in reply.json["events"]]


async def test_diff_returns_the_changes_between_two_moments(services: Services, plain: Client) -> None:
    function_id = await given.function(plain, name="First")
    first = await now(services)
    await plain.post(f"/v1/functions/{function_id}/variables", key="A", value="hidden", variableId="v")
    second = await now(services)
    await plain.put(f"/v1/functions/{function_id}", name="Third")
    path = f"/v1/functions/{function_id}/diff"

    reply = await plain.get(path, **{"from": str(first), "to": str(second)})
    assert (reply.json["from"], reply.json["to"]) == (first, second)
    assert {change["field"] for change in reply.json["changes"]} == {
        *("live", "variables.v.variableId", "variables.v.key", "variables.v.value", "variables.v.secret"),
    }
    assert b"hidden" not in reply.body
    latest = (await plain.get(path, **{"from": str(second)})).json
    assert latest["changes"] == [{"field": "name", "from": "First", "to": "Third"}]
    assert (await plain.get(path, **{"from": str(first), "to": str(first)})).json["changes"] == []
    assert (await plain.get(path)).error == (400, "general_argument_invalid")
    assert (await plain.get(path, **{"from": "1"})).error == (404, "function_not_found")
    assert (await plain.get(path, **{"from": "99999"})).error == (400, "general_argument_invalid")


async def test_configuration_of_an_execution_is_shown_after_it_changed(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain, name="Then", timeout=7)
    await plain.post(f"/v1/functions/{function_id}/variables", key="A", value="hidden", variableId="v")
    execution = (await given.execute(plain, function_id)).json
    ran_at = (await plain.get(f"/v1/functions/{function_id}")).json
    await plain.put(f"/v1/functions/{function_id}", name="Now", timeout=8)
    await plain.delete(f"/v1/functions/{function_id}/variables/v")
    await plain.delete(f"/v1/functions/{function_id}/executions/{execution['$id']}")

    reply = await plain.get(f"/v1/functions/{function_id}/executions/{execution['$id']}/configuration")

    found = reply.json
    assert (found["configuration"]["name"], found["configuration"]["timeout"]) == ("Then", 7)
    assert [(v["key"], v["secret"]) for v in found["variables"]] == [("A", True)]
    assert found["variables"][0]["value"].startswith("fingerprint:")
    assert found["deploymentId"] == ran_at["deploymentId"]
    assert found["deployment"]["artefact"]["digest"]
    assert {change["field"]: change["to"] for change in found["changes"]}["name"] == "Now"
    assert b"hidden" not in reply.body
    missing = await plain.get(f"/v1/functions/{function_id}/executions/nothing/configuration")
    assert missing.error == (404, "execution_not_found")


@pytest.mark.parametrize("seed", range(2))
async def test_revert_brings_any_state_of_a_random_history_back(services: Services, plain: Client, seed: int) -> None:
    chance = random.Random(seed)
    life = Life(services, plain, chance)
    await life.create("f1", "")
    positions = [await now(services)]
    steps = [life.update, life.add, life.add, life.change, life.remove, life.upload, life.build, life.activate]
    for _ in range(40):
        await chance.choice(steps)("f1", "/v1/functions/f1")
        positions.append(await now(services))

    for position in chance.sample(positions, 12):
        wanted = await state(services, "f1", position)
        reply = await plain.post("/v1/functions/f1/revert", to=position)
        assert reply.status == 200, reply.body
        assert reply.json == (await plain.get("/v1/functions/f1")).json
        assert await state(services, "f1") == wanted
        before = await now(services)
        assert (await plain.post("/v1/functions/f1/revert", to=position)).status == 200
        assert await now(services) == before


async def test_deleted_function_is_restored_with_its_deployment_while_its_contents_exist(
    services: Services, plain: Client
) -> None:
    function_id = await given.running_function(services, plain, name="Kept", timeout=9)
    await plain.post(f"/v1/functions/{function_id}/variables", key="A", value="1", secret=False, variableId="v")
    position, was = await now(services), (await plain.get(f"/v1/functions/{function_id}")).json
    wanted = await state(services, function_id)
    await plain.delete(f"/v1/functions/{function_id}")

    reply = await plain.post(f"/v1/functions/{function_id}/revert", to=position)

    assert reply.status == 200, reply.body
    assert {name: reply.json[name] for name in ("name", "timeout", "deploymentId", "live")} == {
        name: was[name] for name in ("name", "timeout", "deploymentId", "live")
    }
    assert [(v["key"], v["value"]) for v in reply.json["vars"]] == [("A", "1")]
    assert await state(services, function_id) == wanted
    deployment = (await plain.get(f"/v1/functions/{function_id}/deployments/{was['deploymentId']}")).json
    assert (deployment["status"], deployment["activate"]) == ("ready", True)
    assert (await given.execute(plain, function_id)).json["status"] == "completed"


async def test_deleted_deployment_is_restored_while_its_contents_exist(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    position, first = await now(services), (await plain.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    await given.built(services, "p1", await given.upload(plain, function_id))
    await plain.delete(f"/v1/functions/{function_id}/deployments/{first}")

    reply = await plain.post(f"/v1/functions/{function_id}/revert", to=position)
    assert reply.json["deploymentId"] == first


async def test_revert_to_deleted_contents_is_refused_and_names_them(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    position, deployment = await now(services), (await plain.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    row = await services.database.row("SELECT source_key, artefact_key FROM deployments")
    assert row is not None
    await plain.delete(f"/v1/functions/{function_id}")
    await services.blobs.delete(row["artefact_key"])
    before = await now(services)

    reply = await plain.post(f"/v1/functions/{function_id}/revert", to=position)

    assert reply.error == (400, "deployment_contents_gone")
    assert deployment in reply.message
    assert await now(services) == before


async def test_revert_of_an_unknown_function_is_refused(services: Services, plain: Client) -> None:
    before = await now(services)
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}/revert"

    assert (await plain.post(path, to=before)).error == (404, "function_not_found")
    assert (await plain.post("/v1/functions/nothing/revert", to=before)).error == (404, "function_not_found")
    assert (await plain.post(path)).error == (400, "general_argument_invalid")
    assert (await plain.post(path, to="tomorrow")).error == (400, "general_argument_invalid")
    assert (await plain.post(path, to=10**9)).error == (400, "general_argument_invalid")
    assert (await plain.with_(x_appwrite_key="p1-read").post(path, to=before)).error[0] == 401
    await plain.post(f"/v1/functions/{function_id}/variables", key="A", value="1", variableId="mine")
    position = await now(services)
    await plain.delete(f"/v1/functions/{function_id}/variables/mine")
    await plain.post(f"/v1/functions/{await given.function(plain)}/variables", key="A", value="1", variableId="mine")
    assert (await plain.post(path, to=position)).error == (409, "variable_already_exists")


async def test_dry_run_of_a_revert_returns_the_events_and_records_none(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    function_id = await given.running_function(services, plain)
    await plain.post(f"/v1/functions/{function_id}/variables", key="A", value="1", variableId="taken")
    path, other = f"/v1/functions/{function_id}", await given.function(plain)
    before, blobs = await now(services), await services.database.rows("SELECT count(*) AS n FROM contents")
    runs = len(executor.runs)

    created = await plain.send("POST", "/v1/functions", query="dryRun=true", content_type="application/json",
        body=b'{"functionId": "tried", "name": "T", "runtime": "node-22"}')  # fmt: skip
    assert answer(created) == ["function.created"]
    event = created.json["events"][0]
    assert (event["position"], event["resourceId"], event["actor"]["name"]) == (None, "tried", "all")
    assert event["data"]["configuration"]["name"] == "T"

    async def dry_run(method: str, path: str, body: bytes = b"{}") -> Reply:
        return await plain.send(method, path, query="dryRun=1", content_type="application/json", body=body)

    assert answer(await dry_run("PUT", path, b'{"name": "Other"}')) == ["function.updated"]
    assert answer(await dry_run("DELETE", path)) == ["function.deleted"]
    assert answer(await dry_run("POST", f"{path}/executions")) == ["execution.requested"]
    assert answer(await dry_run("POST", f"{path}/executions", b'{"async": true}')) == ["execution.requested"]
    variable = b'{"variableId": "v2", "key": "B", "value": "hidden"}'
    reply = await dry_run("POST", f"{path}/variables", variable)
    assert answer(reply) == ["function.variable_added"]
    assert b"hidden" not in reply.body
    deployment = (await plain.get(path)).json["deploymentId"]
    duplicate = b'{"deploymentId": "%b"}' % deployment.encode()
    assert answer(await dry_run("POST", f"{path}/deployments/duplicate", duplicate))[-1] == "deployment.build_queued"
    refused = await dry_run(
        "POST", f"/v1/functions/{other}/variables", b'{"variableId": "taken", "key": "B", "value": ""}'
    )
    assert refused.error == (409, "variable_already_exists")
    assert (await dry_run("PUT", "/v1/functions/nothing", b'{"name": "x"}')).error == (404, "function_not_found")
    assert (await dry_run("POST", path + "/variables", b"{}")).error == (400, "general_argument_invalid")

    assert await now(services) == before
    assert len(executor.runs) == runs
    assert await services.database.rows("SELECT count(*) AS n FROM contents") == blobs
    assert (await plain.get("/v1/functions/tried")).error == (404, "function_not_found")
    assert len([blob async for blob in services.blobs.list("sources")]) == 1
    await given.function(plain, functionId="tried")


async def test_dry_run_of_an_upload_stores_no_file(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    content_type, body = form({"activate": "true"}, given.SOURCE, "code.tar.gz")

    reply = await plain.send(
        "POST", f"/v1/functions/{function_id}/deployments", query="dryRun=true", content_type=content_type, body=body
    )

    assert answer(reply) == ["deployment.upload_started", "deployment.source_stored", "deployment.build_queued"]
    assert reply.json["events"][1]["data"]["source"]["size"] == len(given.SOURCE)
    assert [blob async for blob in services.blobs.list("sources")] == []


async def test_dry_run_of_a_revert_is_requested_by_query_or_body(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain, name="First")
    position = await now(services)
    await plain.put(f"/v1/functions/{function_id}", name="Second")
    path, before = f"/v1/functions/{function_id}/revert", await now(services)

    assert answer(await plain.post(path, to=position, dryRun=True)) == ["function.updated"]
    await plain.delete(f"/v1/functions/{function_id}")
    restored = await plain.post(path, to=position, dryRun=True)
    assert answer(restored) == [
        *("function.created", "deployment.upload_started", "deployment.source_stored", "deployment.restored"),
        "function.deployment_activated",
    ]
    assert [type(f.event).TOPIC for f in await services.log.reader.after(before, 10)] == ["function.deleted"]


async def test_invalid_dry_run_value_is_refused(plain: Client) -> None:
    reply = await plain.send("DELETE", "/v1/functions/f", query="dryRun=perhaps")
    assert reply.error == (400, "general_argument_invalid")
    assert "dryRun" in reply.message
