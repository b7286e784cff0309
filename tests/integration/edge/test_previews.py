"""Running any ready deployment without activating it (extensions.md)."""

from annals.app.services import Services
from annals.domain.execution import Execution
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor


async def preview(client: Client, function_id: str, deployment_id: str, **fields: object) -> Reply:
    path = f"/v1/functions/{function_id}/deployments/{deployment_id}/executions"
    return await client.json("POST", path, fields)


async def other_deployment(services: Services, client: Client, function_id: str) -> str:
    """Create a ready deployment that is not active."""
    made = await given.upload(client, function_id, activate="false")
    await given.built(services, "p1", made)
    return made


async def test_ready_deployment_runs_and_the_active_deployment_stays(
    services: Services, executor: FakeExecutor, key: Client
) -> None:
    function_id = await given.running_function(services, key)
    active = (await key.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    made = await other_deployment(services, key, function_id)

    reply = await preview(key, function_id, made, body="hi", path="/x")

    assert reply.status == 201
    assert (reply.json["status"], reply.json["deploymentId"], reply.json["responseBody"]) == (
        "completed",
        made,
        "hello",
    )
    assert (executor.runs[0].deployment, executor.runs[0].body, executor.runs[0].path) == (made, b"hi", "/x")
    assert (await key.get(f"/v1/functions/{function_id}")).json["deploymentId"] == active


async def test_later_run_is_bound_to_the_deployment_that_was_asked_for(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    made = await other_deployment(services, plain, function_id)

    reply = await preview(plain, function_id, made, **{"async": True})

    assert (reply.status, reply.json["status"], reply.json["deploymentId"]) == (202, "waiting", made)
    assert (await services.log.load(Execution.key("p1", reply.json["$id"]))).pinned
    usual = await given.execute(plain, function_id, async_=True)
    assert not (await services.log.load(Execution.key("p1", usual.json["$id"]))).pinned


async def test_missing_or_unready_deployments_are_refused(services: Services, plain: Client) -> None:
    function_id, other = await given.running_function(services, plain), await given.running_function(services, plain)
    waiting = await given.upload(plain, function_id)
    foreign = await other_deployment(services, plain, other)

    assert (await preview(plain, function_id, waiting)).error == (400, "build_not_ready")
    await plain.patch(f"/v1/functions/{function_id}/deployments/{waiting}/status")
    assert "was canceled" in (await preview(plain, function_id, waiting)).json["message"]
    assert (await preview(plain, function_id, foreign)).error == (404, "deployment_not_found")
    assert (await preview(plain, function_id, "nope")).error == (404, "deployment_not_found")
    assert (await preview(plain, "nope", foreign)).error == (404, "function_not_found")
    assert (await preview(plain, function_id, waiting, method="TRACE")).error == (400, "general_argument_invalid")


async def test_users_may_not_choose_the_deployment(services: Services, plain: Client, anonymous: Client) -> None:
    function_id = await given.running_function(services, plain, execute=["any"])
    made = await other_deployment(services, plain, function_id)
    guest = anonymous.with_(x_appwrite_project="p1")

    assert (await given.execute(guest, function_id)).status == 201
    assert (await preview(guest, function_id, made)).error == (401, "user_unauthorized")
