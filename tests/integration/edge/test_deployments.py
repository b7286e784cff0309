"""Deployments: read, built, duplicated, canceled, deleted (behaviours.md D, E)."""

import pytest

from annals.app.services import Services
from annals.domain.deployment import Deployment
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor


@pytest.mark.behaviours(56, 69)
async def test_end_of_a_build_is_shown(services: Services, key: Client) -> None:
    function_id = await given.function(key)
    good, bad = await given.upload(key, function_id), await given.upload(key, function_id)
    await given.built(services, "p1", good)
    await given.built(services, "p1", bad, succeeds=False)

    shown = (await key.get(f"/v1/functions/{function_id}/deployments/{good}")).json
    assert (shown["status"], shown["buildSize"], shown["buildDuration"]) == ("ready", 5, 2)
    assert shown["totalSize"] == shown["sourceSize"] + 5
    failed = (await key.get(f"/v1/functions/{function_id}/deployments/{bad}")).json
    assert (failed["status"], failed["buildSize"]) == ("failed", 0)
    function = (await key.get(f"/v1/functions/{function_id}")).json
    assert (function["latestDeploymentId"], function["latestDeploymentStatus"]) == (bad, "failed")


@pytest.mark.behaviours(70, 72)
async def test_list_shows_its_own_function_s_deployments_oldest_first(key: Client) -> None:
    function_id, other = await given.function(key), await given.function(key)
    wanted = [await given.upload(key, function_id) for _ in range(3)]
    foreign = await given.upload(key, other)

    reply = await key.get(f"/v1/functions/{function_id}/deployments")
    assert given.ids(reply, "deployments") == wanted
    assert reply.json["total"] == 3
    assert [row["activate"] for row in reply.json["deployments"]] == [False, False, True]
    for unknown in (foreign, "nope"):
        missing = await key.get(f"/v1/functions/{function_id}/deployments/{unknown}")
        assert missing.error == (404, "deployment_not_found")


@pytest.mark.behaviours(77, 78)
async def test_duplicate_is_built_with_the_present_settings(services: Services, key: Client) -> None:
    function_id = await given.function(key)
    former = await given.upload(key, function_id)
    await given.built(services, "p1", former)
    await key.put(f"/v1/functions/{function_id}", name="fn", entrypoint="other.js")

    reply = await key.post(f"/v1/functions/{function_id}/deployments/duplicate", deploymentId=former)

    assert reply.status == 202
    made = reply.json
    assert made["$id"] != former
    assert made["sourceSize"] == made["totalSize"] == len(given.SOURCE)
    assert (made["buildSize"], made["status"], made["entrypoint"]) == (0, "waiting", "other.js")
    assert made["activate"] is True
    assert (await given.download(key, function_id, made["$id"])).body == given.SOURCE
    for alias in (f"{former}/build", f"{former}/builds/b"):
        assert (await key.post(f"/v1/functions/{function_id}/deployments/{alias}")).status == 202
    foreign = await given.function(key)
    refused = await key.post(f"/v1/functions/{foreign}/deployments/duplicate", deploymentId=former)
    assert refused.error == (404, "deployment_not_found")


async def test_duplicate_keeps_the_activate_flag_in_old_versions(plain: Client) -> None:
    function_id = await given.function(plain)
    former = await given.upload(plain, function_id, activate="false")
    path = f"/v1/functions/{function_id}/deployments/duplicate"

    assert (await plain.post(path, deploymentId=former)).json["activate"] is False
    newest = plain.with_(x_appwrite_response_format="2.5.0")
    assert (await newest.post(path, deploymentId=former)).json["activate"] is True


@pytest.mark.behaviours(79, 81)
async def test_canceled_build_stays_canceled(services: Services, executor: FakeExecutor, key: Client) -> None:
    function_id, other = await given.function(key), await given.function(key)
    deployment_id = await given.upload(key, function_id)
    stream = Deployment.key("p1", deployment_id)
    await services.log.run(Deployment.claim_build, stream, meta=given.META, worker="w")
    await services.log.run(Deployment.start_build, stream, meta=given.META, epoch=1)
    await services.database.execute(
        "INSERT INTO build_logs (stream_id, epoch, seq, chunk) VALUES (%s, 1, 1, 'npm install')", (stream.stream,)
    )
    path = f"/v1/functions/{function_id}/deployments/{deployment_id}"
    assert (await key.get(path)).json["buildLogs"] == "npm install"

    foreign = await key.patch(f"/v1/functions/{other}/deployments/{deployment_id}/status")
    assert foreign.error == (404, "deployment_not_found")
    reply = await key.patch(f"{path}/status")

    assert reply.status == 200
    assert reply.json["status"] == "canceled"
    assert "Build has been canceled." in reply.json["buildLogs"]
    assert executor.canceled == [deployment_id]
    assert (await key.patch(f"{path}/status")).json["status"] == "canceled"
    assert (await key.get(path)).json["buildLogs"].startswith("npm install\n")
    assert (await key.get(f"/v1/functions/{function_id}")).json["latestDeploymentStatus"] == "canceled"


@pytest.mark.behaviours(80)
async def test_ended_build_cannot_be_canceled(services: Services, key: Client) -> None:
    function_id = await given.function(key)
    for succeeds in (True, False):
        deployment_id = await given.upload(key, function_id)
        await given.built(services, "p1", deployment_id, succeeds=succeeds)
        reply = await key.patch(f"/v1/functions/{function_id}/deployments/{deployment_id}/build")
        assert reply.error == (400, "build_already_completed")


@pytest.mark.behaviours(82, 83, 84)
async def test_active_and_latest_deployment_can_be_deleted(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)
    active = (await key.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    latest = await given.upload(key, function_id, activate="false")

    assert (await key.delete(f"/v1/functions/{function_id}/deployments/{latest}")).status == 204
    function = (await key.get(f"/v1/functions/{function_id}")).json
    assert (function["latestDeploymentId"], function["latestDeploymentStatus"]) == (active, "ready")
    assert (await key.delete(f"/v1/functions/{function_id}/deployments/{active}")).status == 204
    function = (await key.get(f"/v1/functions/{function_id}")).json
    assert function["deploymentId"] == function["deploymentCreatedAt"] == function["latestDeploymentId"] == ""
    gone = await key.get(f"/v1/functions/{function_id}/deployments/{active}")
    assert gone.error == (404, "deployment_not_found")
    assert (await key.delete(f"/v1/functions/{function_id}/deployments/{active}")).error[0] == 404
    run = await key.post(f"/v1/functions/{function_id}/executions")
    assert run.error == (404, "deployment_not_found")


@pytest.mark.behaviours(88)
async def test_function_without_a_repository_cannot_deploy_from_one(key: Client) -> None:
    function_id = await given.function(key)
    reply = await key.post(f"/v1/functions/{function_id}/deployments/vcs", type="branch", reference="main")

    assert reply.error == (404, "installation_not_found")
    unknown = await key.post("/v1/functions/nope/deployments/vcs", type="branch", reference="main")
    assert unknown.error == (404, "function_not_found")
    assert (await key.post(f"/v1/functions/{function_id}/deployments/vcs", type="tag")).error[0] == 400


async def test_deployment_has_other_field_names_before_1_7(plain: Client) -> None:
    function_id = await given.function(plain)
    deployment_id = await given.upload(plain, function_id)
    former = plain.with_(x_appwrite_response_format="1.6.0")
    shown = (await former.get(f"/v1/functions/{function_id}/deployments/{deployment_id}")).json

    assert (shown["size"], shown["buildTime"]) == (len(given.SOURCE), 0)
    assert not {"sourceSize", "buildDuration", "totalSize", "screenshotLight"} & set(shown)


async def test_deployment_of_a_deleted_function_with_the_same_id_is_not_found(
    services: Services, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)
    former = (await plain.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    assert (await plain.delete(f"/v1/functions/{function_id}")).status == 204
    await given.function(plain, functionId=function_id)
    path = f"/v1/functions/{function_id}/deployments"
    none = (404, "deployment_not_found")

    assert (await plain.get(f"{path}/{former}")).error == none
    assert (await plain.patch(f"/v1/functions/{function_id}/deployment", deploymentId=former)).error == none
    assert (await plain.delete(f"{path}/{former}")).error == none
    assert (await plain.post(f"{path}/duplicate", deploymentId=former)).error == none
    assert (await plain.patch(f"{path}/{former}/status")).error[0] in {400, 404}
    assert (await plain.get(f"/v1/functions/{function_id}")).json["deploymentId"] == ""
