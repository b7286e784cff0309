"""Shares of the traffic over the wire: routing of calls, errors, and history (extensions.md)."""

import json
from typing import Any

import pytest

from annals.app.edge.edge import Edge
from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.test_as_of import follow
from tests.integration.edge.test_dead_letters import attempt
from tests.integration.edge.test_previews import other_deployment, preview


async def shared(services: Services, client: Client, percent: int = 100, **fields: Any) -> tuple[str, str, str]:
    """Create a function, its active deployment, and another deployment with a share of its calls."""
    function_id = await given.running_function(services, client, **fields)
    active = (await client.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    other = await other_deployment(services, client, function_id)
    reply = await put(client, function_id, (other, percent))
    assert reply.status == 200, reply.body
    return function_id, active, other


async def put(client: Client, function_id: str, *shares: tuple[str, object], **rest: object) -> Any:
    traffic = [{"deploymentId": deployment_id, "percent": percent} for deployment_id, percent in shares]
    return await client.json("PUT", f"/v1/functions/{function_id}/policy", {"traffic": traffic, **rest})


async def traffic_of(client: Client, function_id: str, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(f"/v1/functions/{function_id}/policy", **query)).json["traffic"]
    return found


async def test_calls_run_and_name_the_deployment_of_their_share(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    function_id, active, other = await shared(services, plain)

    now = await given.execute(plain, function_id)
    later = await given.execute(plain, function_id, async_=True)

    assert (now.json["deploymentId"], executor.runs[-1].deployment) == (other, other)
    assert (later.json["status"], later.json["deploymentId"]) == ("waiting", other)
    assert (await plain.get(f"/v1/functions/{function_id}")).json["deploymentId"] == active
    asked = await preview(plain, function_id, active)
    assert (asked.json["deploymentId"], executor.runs[-1].deployment) == (active, active)


async def test_calls_outside_the_shares_run_the_active_deployment(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    function_id, active, other = await shared(services, plain, 40)

    answer = [(await given.execute(plain, function_id)).json["deploymentId"] for _ in range(40)]

    assert answer == [run.deployment for run in executor.runs]
    assert set(answer) == {active, other}


async def test_domain_requests_follow_the_shares(
    services: Services, plain: Client, edge: Edge, executor: FakeExecutor
) -> None:
    function_id, _, other = await shared(services, plain, execute=["any"])
    host = "shared.functions.localhost"
    made = await plain.post("/v1/proxy/rules/function", domain=host, functionId=function_id)
    assert made.status == 201, made.body

    reply = await Client(edge, {"host": f"{host}:8080"}).get("/")

    assert (reply.status, executor.runs[-1].deployment) == (200, other)


async def test_redriven_call_follows_the_present_shares(services: Services, plain: Client) -> None:
    function_id, _, other = await shared(services, plain)
    await put(plain, function_id, retries={"attempts": 2, "backoffSeconds": 1})
    letter = str((await given.execute(plain, function_id, async_=True)).json["$id"])
    for _ in range(2):
        await attempt(services, letter)
    await put(plain, function_id, (other, 100))

    reply = await plain.post(f"/v1/functions/{function_id}/dead-letters/{letter}/redrive")

    assert (reply.status, reply.json["deploymentId"]) == (202, other)


@pytest.mark.parametrize(
    ("percents", "words"),
    [
        ([0], "traffic"),
        ([101], "traffic"),
        (["many"], "traffic"),
        ([60, 60], "must not be named twice"),
        ([None], "percent"),
    ],
)
async def test_invalid_traffic_is_refused(
    services: Services, plain: Client, percents: list[object], words: str
) -> None:
    function_id, _, other = await shared(services, plain, 7)

    reply = await put(plain, function_id, *((other, percent) for percent in percents))

    assert reply.error == (400, "general_argument_invalid")
    assert words in reply.json["message"]
    assert await traffic_of(plain, function_id) == [{"deploymentId": other, "percent": 7, "status": "ready"}]


async def test_shares_are_bounded_in_sum_and_number(services: Services, plain: Client) -> None:
    function_id, active, other = await shared(services, plain, 7)

    assert "add up to" in (await put(plain, function_id, (active, 50), (other, 51))).json["message"]
    assert "longer than 10" in (await put(plain, function_id, *((f"d{n}", 1) for n in range(11)))).json["message"]
    assert (await put(plain, function_id, (active, 50), (other, 50))).status == 200


async def test_only_ready_deployments_of_the_function_get_a_share(services: Services, plain: Client) -> None:
    function_id, _, other = await shared(services, plain, 7)
    waiting = await given.upload(plain, function_id)
    _, foreign, _ = await shared(services, plain)

    assert (await put(plain, function_id, ("nothing", 5))).error == (404, "deployment_not_found")
    assert (await put(plain, function_id, (foreign, 5))).error == (404, "deployment_not_found")
    assert (await put(plain, function_id, (waiting, 5))).error == (400, "build_not_ready")
    assert [one["deploymentId"] for one in await traffic_of(plain, function_id)] == [other]


async def test_deployment_of_a_deleted_function_gets_no_share(services: Services, plain: Client) -> None:
    function_id, _, other = await shared(services, plain)
    await plain.delete(f"/v1/functions/{function_id}")
    await given.function(plain, functionId=function_id)

    assert (await put(plain, function_id, (other, 5))).error == (404, "deployment_not_found")


async def test_deleted_deployment_is_shown_and_its_calls_run_the_active_one(services: Services, plain: Client) -> None:
    function_id, active, other = await shared(services, plain)
    before = await services.log.reader.position()
    await plain.delete(f"/v1/functions/{function_id}/deployments/{other}")

    assert await traffic_of(plain, function_id) == [{"deploymentId": other, "percent": 100, "status": "deleted"}]
    assert (await given.execute(plain, function_id)).json["deploymentId"] == active
    await follow(services)
    assert (await traffic_of(plain, function_id, asOf=str(before)))[0]["status"] == "ready"


async def test_history_dry_runs_and_reverts_include_the_traffic(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    other = await other_deployment(services, plain, function_id)
    path, without = f"/v1/functions/{function_id}", await services.log.reader.position()
    body = json.dumps({"traffic": [{"deploymentId": other, "percent": 20}]}).encode()

    dry_run = await plain.send("PUT", f"{path}/policy", query="dryRun=true", content_type="application/json", body=body)
    assert [event["type"] for event in dry_run.json["events"]] == ["function.policy_changed"]
    assert await traffic_of(plain, function_id) == []
    assert (await put(plain, function_id, (other, 20))).status == 200
    shares = await services.log.reader.position()

    answer = (await plain.get(f"{path}/history")).json["events"][-1]["changes"]
    assert answer == [{"field": "policy.traffic", "from": None, "to": [{"deploymentId": other, "percent": 20}]}]
    assert (await plain.json("POST", f"{path}/revert", {"to": without})).status == 200
    assert await traffic_of(plain, function_id) == []
    assert (await plain.json("POST", f"{path}/revert", {"to": shares})).status == 200
    assert [one["percent"] for one in await traffic_of(plain, function_id)] == [20]
    await follow(services)
    assert await traffic_of(plain, function_id, asOf=str(without)) == []
    assert [one["percent"] for one in await traffic_of(plain, function_id, asOf=str(shares))] == [20]
