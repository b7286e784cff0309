"""Uploads in one piece (behaviours.md D)."""

import secrets

import pytest

from annals.app.deployments.ranges import CHUNK
from annals.app.services import Services
from tests.client import form
from tests.integration.edge import given
from tests.integration.edge.client import Client


async def blobs_of(services: Services, prefix: str) -> list[str]:
    return [blob.key async for blob in services.blobs.list(prefix)]


@pytest.mark.behaviours(55, 71)
async def test_upload_waits_for_its_build(key: Client) -> None:
    function_id = await given.function(key)

    reply = await key.upload(f"/v1/functions/{function_id}/deployments", {"activate": "true"}, file=given.SOURCE)

    assert reply.status == 202
    deployment = reply.json
    assert deployment["status"] == "waiting"
    assert deployment["type"] == "manual"
    assert (deployment["resourceId"], deployment["resourceType"]) == (function_id, "functions")
    assert deployment["entrypoint"] == "index.js"
    assert deployment["sourceSize"] == deployment["totalSize"] == len(given.SOURCE)
    assert deployment["buildSize"] == 0
    assert deployment["buildId"] == deployment["buildLogs"] == ""
    assert deployment["activate"] is True
    assert (await key.get(f"/v1/functions/{function_id}/deployments/{deployment['$id']}")).json == deployment
    function = (await key.get(f"/v1/functions/{function_id}")).json
    assert function["latestDeploymentId"] == deployment["$id"]
    assert function["latestDeploymentStatus"] == "waiting"


@pytest.mark.behaviours(57, 64, 115)
@pytest.mark.parametrize(("activate", "meant"), [("true", True), ("1", True), ("false", False), ("0", False)])
async def test_activate_accepts_the_values_of_forms(keys: list[Client], activate: str, meant: bool) -> None:
    for key in keys:
        function_id = await given.function(key)
        cli = key.with_(x_sdk_language="cli")
        reply = await cli.upload(f"/v1/functions/{function_id}/deployments", {"activate": activate}, file=given.SOURCE)

        assert reply.json["activate"] is meant
        assert reply.json["type"] == "cli"


@pytest.mark.behaviours(58, 59, 60, 63)
async def test_incomplete_upload_is_refused_in_the_contract_s_order(services: Services, key: Client) -> None:
    function_id = await given.function(key)
    path = f"/v1/functions/{function_id}/deployments"

    reply = await key.upload(path, {}, file=given.SOURCE)
    assert reply.error == (400, "general_argument_invalid")
    assert reply.message == 'Param "activate" is not optional.'
    unknown = await key.upload("/v1/functions/nope/deployments", {"activate": "true"}, file=given.SOURCE)
    assert unknown.error == (404, "function_not_found")
    assert (await key.upload(path, {"activate": "true"}, file=None)).error == (400, "storage_file_empty")
    assert (await key.post(path, activate=True)).error == (400, "storage_file_empty")
    named = await key.upload(path, {"activate": "true"}, file=given.SOURCE, name="code.zip")
    assert named.error == (400, "storage_file_type_unsupported")
    assert (await key.get(path)).json["total"] == 0
    assert await blobs_of(services, "sources") == []


@pytest.mark.behaviours(61, 62)
async def test_entrypoint_comes_from_the_upload_or_the_function(key: Client) -> None:
    function_id = await given.function(key, entrypoint="")
    path = f"/v1/functions/{function_id}/deployments"

    refused = await key.upload(path, {"activate": "true"}, file=given.SOURCE)
    assert refused.error == (404, "function_entrypoint_missing")
    fields = {"activate": "true", "entrypoint": "main.js", "commands": "make"}
    assert (await key.upload(path, fields, file=given.SOURCE)).json["entrypoint"] == "main.js"
    function = (await key.get(f"/v1/functions/{function_id}")).json
    assert function["entrypoint"] == function["commands"] == ""


@pytest.mark.parametrize("size", [30_000_001, 30_000_000])
async def test_size_of_a_file_is_bounded(services: Services, plain: Client, size: int) -> None:
    path = f"/v1/functions/{await given.function(plain)}/deployments"
    content_type, body = form({"activate": "true"}, bytes(size), "code.tar.gz")
    for version, kind in (("1.8.0", "storage_invalid_file_size"), ("2.5.0", "deployment_invalid_file_size")):
        client = plain.with_(x_appwrite_response_format=version)
        reply = await client.send("POST", path, content_type=content_type, body=body, pieces=100)
        if size > 30_000_000:
            assert reply.error == (400, kind)
            assert await blobs_of(services, "sources") == []
        else:
            assert reply.json["sourceSize"] == size


async def test_announced_size_over_the_limit_is_refused_before_the_body(plain: Client) -> None:
    path = f"/v1/functions/{await given.function(plain)}/deployments"
    reply = await plain.upload(
        path, {"activate": "true"}, file=bytes(CHUNK), content_range=f"bytes 0-{CHUNK - 1}/{10**9}"
    )  # fmt: skip

    assert reply.error == (400, "storage_invalid_file_size")


async def test_truncated_upload_leaves_nothing(services: Services, plain: Client) -> None:
    path = f"/v1/functions/{await given.function(plain)}/deployments"
    content_type, body = form({"activate": "true"}, secrets.token_bytes(100_000), "code.tar.gz")

    reply = await plain.send("POST", path, content_type=content_type, body=body[:-30], pieces=9)
    assert reply.error == (403, "storage_invalid_file")
    assert await blobs_of(services, "sources") == []
    assert (await plain.upload(path, {"activate": "true"}, file=given.SOURCE)).status == 202
