"""Functions over the wire (behaviours.md A, B, L)."""

import re
from typing import Any

import pytest

from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
SLUGS = "s-0.5vcpu-512mb, s-1vcpu-512mb, s-1vcpu-1gb, s-2vcpu-2gb"


@pytest.mark.behaviours(16, 45)
async def test_new_function_has_the_contract_s_defaults(key: Client) -> None:
    reply = await key.post("/v1/functions", functionId="unique()", name="fn", runtime="node-22")

    assert reply.status == 201
    function = reply.json
    assert re.fullmatch(r"[0-9a-f]{20}", function["$id"])
    assert DATE.fullmatch(function["$createdAt"])
    assert DATE.fullmatch(function["$updatedAt"])
    for name in ("deploymentId", "latestDeploymentId", "latestDeploymentStatus", "schedule", "entrypoint", "commands"):
        assert function[name] == ""
    assert function["deploymentCreatedAt"] == function["latestDeploymentCreatedAt"] == ""
    assert function["timeout"] == 15
    assert function["enabled"] is function["logging"] is function["live"] is True
    assert function["execute"] == function["events"] == function["scopes"] == function["vars"] == []
    assert function["version"] == "v5"
    assert (await key.get(f"/v1/functions/{function['$id']}")).json == function


@pytest.mark.behaviours(17, 18)
async def test_chosen_id_can_be_used_once(key: Client) -> None:
    fields = {"functionId": "my.fn_1-A", "name": "fn", "runtime": "node-22"}

    assert (await key.post("/v1/functions", **fields)).json["$id"] == "my.fn_1-A"
    assert (await key.post("/v1/functions", **fields)).error == (409, "function_already_exists")
    assert (
        await key.with_(x_appwrite_project="p2", x_appwrite_key="p2-all").post("/v1/functions", **fields)
    ).status == 201


async def test_id_can_be_used_again_after_a_deletion(plain: Client) -> None:
    await given.function(plain, functionId="again")
    await plain.json("POST", "/v1/functions/again/variables", {"key": "A", "value": "1"})
    await plain.delete("/v1/functions/again")

    await given.function(plain, functionId="again")
    assert (await plain.get("/v1/functions/again")).json["vars"] == []


@pytest.mark.behaviours(19)
@pytest.mark.parametrize("missing", ["functionId", "name", "runtime"])
async def test_required_fields_of_a_function_must_be_sent(key: Client, missing: str) -> None:
    fields = {"functionId": "f", "name": "fn", "runtime": "node-22"}
    del fields[missing]
    reply = await key.json("POST", "/v1/functions", fields)

    assert reply.error == (400, "general_argument_invalid")
    assert reply.message == f'Param "{missing}" is not optional.'


@pytest.mark.behaviours(20, 21, 22, 23, 24, 27, 28, 30, 31)
@pytest.mark.parametrize(
    "wrong",
    [
        *({"functionId": value} for value in ("_x", ".x", "-x", "x" * 37, "a b")),
        *({"name": value} for value in ("x" * 129, "", 5)),
        {"runtime": "node-99"},
        *({"timeout": value} for value in (0, 901, "abc", 15.5, True)),
        {"execute": ["some-random-string"]},
        {"events": ["functions.*.create"]},
        {"events": ["nope.*"]},
        {"schedule": "not a cron"},
        {"schedule": "0 0 31 2 *"},
        *({name: "true"} for name in ("enabled", "logging", "providerSilentMode")),
        {"scopes": ["nope.read"]},
        {"specification": ""},
        {"providerRepositoryId": "r"},
    ],
    ids=str,
)
async def test_invalid_values_are_refused(keys: list[Client], wrong: dict[str, Any]) -> None:
    fields = {"functionId": "unique()", "name": "fn", "runtime": "node-22", **wrong}

    for key in keys:
        if "specification" in wrong and key.headers.get("x-appwrite-response-format") == "2.5.0":
            continue  # this version has no such parameter
        assert (await key.json("POST", "/v1/functions", fields)).error == (400, "general_argument_invalid")


@pytest.mark.behaviours(21, 23, 25, 26, 29)
@pytest.mark.parametrize(
    "right",
    [
        {"name": "x" * 128},
        {"timeout": 1},
        {"timeout": 900},
        {"execute": ["any", "users/verified", "user:a", "team:t/owner", "member:m", "label:vip", "guests"]},
        {"events": ["users.*.create", "buckets.*.files.*.create"]},
        {"schedule": "0 0 1 1 *"},
        {"scopes": ["users.read", "execution.write"]},
        {"commands": "x" * 8192},
    ],
    ids=lambda right: str(right)[:40],
)
async def test_valid_values_are_returned(keys: list[Client], right: dict[str, Any]) -> None:
    for key in keys:
        fields = {"functionId": "unique()", "name": "fn", "runtime": "node-22", **right}
        reply = await key.json("POST", "/v1/functions", fields)

        assert reply.status == 201
        assert {name: reply.json[name] for name in right} == right


@pytest.mark.behaviours(27)
async def test_function_event_as_a_trigger_is_refused_with_its_reason(key: Client) -> None:
    fields = {"functionId": "f", "name": "fn", "runtime": "node-22", "events": ["functions.*.create"]}
    assert "Triggering a function on a function event" in (await key.json("POST", "/v1/functions", fields)).message


@pytest.mark.behaviours(28)
async def test_invalid_schedule_is_refused_with_the_valid_form(key: Client) -> None:
    fields = {"functionId": "f", "name": "fn", "runtime": "node-22", "schedule": "not a cron"}
    reply = await key.json("POST", "/v1/functions", fields)
    assert "String must be a valid cron expression" in reply.message


@pytest.mark.behaviours(32)
@pytest.mark.parametrize("name", ["specification", "buildSpecification", "runtimeSpecification"])
async def test_unknown_specification_lists_the_offered_ones(key: Client, name: str) -> None:
    fields = {"functionId": "f", "name": "fn", "runtime": "node-22", name: "cheap-please"}
    reply = await key.json("POST", "/v1/functions", fields)

    assert reply.error == (400, "general_argument_invalid")
    assert f"Specification must be one of: {SLUGS}" in reply.message


@pytest.mark.behaviours(33, 34)
async def test_repository_needs_an_existing_installation(key: Client) -> None:
    fields = {"functionId": "f", "name": "fn", "runtime": "node-22"}

    reply = await key.json("POST", "/v1/functions", {**fields, "providerRepositoryId": "r"})
    assert reply.error == (400, "general_argument_invalid")
    reply = await key.json("POST", "/v1/functions", {**fields, "installationId": "nope"})
    assert reply.error == (404, "installation_not_found")


@pytest.mark.behaviours(1, 35, 41, 44)
async def test_unknown_function_answers_in_the_envelope(key: Client) -> None:
    for reply in (
        await key.get("/v1/functions/nope-xyz"),
        await key.put("/v1/functions/nope-xyz", name="fn"),
        await key.delete("/v1/functions/nope-xyz"),
        await key.patch("/v1/functions/nope-xyz/deployment", deploymentId="d"),
    ):
        assert reply.error == (404, "function_not_found")


@pytest.mark.behaviours(36, 40)
async def test_disabled_function_is_still_shown(key: Client) -> None:
    function_id = await given.function(key)

    assert (await key.put(f"/v1/functions/{function_id}", name="fn", enabled=False)).json["enabled"] is False
    assert (await key.get(f"/v1/functions/{function_id}")).json["enabled"] is False


@pytest.mark.behaviours(37, 45)
async def test_update_resets_fields_that_it_does_not_name(key: Client) -> None:
    function_id = await given.function(
        key, commands="make", schedule="0 0 * * *", events=["users.*.create"], execute=["any"], timeout=60
    )
    before = (await key.get(f"/v1/functions/{function_id}")).json

    reply = await key.put(f"/v1/functions/{function_id}", name="N2")

    assert reply.status == 200
    after = reply.json
    assert after["name"] == "N2"
    assert after["commands"] == after["schedule"] == ""
    assert after["events"] == after["execute"] == []
    assert after["timeout"] == 15
    assert (after["entrypoint"], after["runtime"]) == ("index.js", "node-22")
    assert after["live"] is False
    assert after["$createdAt"] == before["$createdAt"]
    assert after["$updatedAt"] > before["$updatedAt"]
    assert (await key.get(f"/v1/functions/{function_id}")).json == after


async def test_update_that_changes_nothing_records_nothing(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    before = await plain.get(f"/v1/functions/{function_id}")

    after = await plain.put(f"/v1/functions/{function_id}", name="fn")

    assert after.json == before.json
    assert after.headers["x-annals-position"] == before.headers["x-annals-position"]


@pytest.mark.behaviours(38, 39)
async def test_update_needs_a_name_and_no_empty_runtime(key: Client) -> None:
    function_id = await given.function(key)

    assert (await key.json("PUT", f"/v1/functions/{function_id}", {})).message == 'Param "name" is not optional.'
    assert (await key.put(f"/v1/functions/{function_id}", name="fn", runtime="")).error[0] == 400


@pytest.mark.behaviours(42, 43)
async def test_deleting_a_function_deletes_its_children(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)
    await key.json("POST", f"/v1/functions/{function_id}/executions", {"async": True})

    reply = await key.delete(f"/v1/functions/{function_id}")
    assert (reply.status, reply.body, reply.headers["content-type"]) == (204, b"", "text/html")
    for below in ("", "/deployments", "/executions", "/variables", "/usage"):
        assert (await key.get(f"/v1/functions/{function_id}{below}")).error == (404, "function_not_found")


@pytest.mark.behaviours(178)
async def test_each_api_version_has_its_specification_fields(plain: Client) -> None:
    function_id = await given.function(plain, specification="s-1vcpu-1gb")
    former = (await plain.with_(x_appwrite_response_format="1.8.0").get(f"/v1/functions/{function_id}")).json
    newest = (await plain.with_(x_appwrite_response_format="2.5.0").get(f"/v1/functions/{function_id}")).json
    union = (await plain.get(f"/v1/functions/{function_id}")).json

    assert former["specification"] == "s-1vcpu-1gb"
    assert "buildSpecification" not in former
    assert "runtimeSpecification" not in former
    assert newest["buildSpecification"] == newest["runtimeSpecification"] == "s-1vcpu-1gb"
    assert "specification" not in newest
    assert union["specification"] == union["buildSpecification"] == union["runtimeSpecification"] == "s-1vcpu-1gb"


async def test_function_has_other_field_names_before_1_7(plain: Client) -> None:
    function_id = await given.function(plain)
    shown = (await plain.with_(x_appwrite_response_format="1.6.2").get(f"/v1/functions/{function_id}")).json

    assert shown["deployment"] == ""
    assert not {"deploymentId", "latestDeploymentId", "latestDeploymentStatus", "deploymentCreatedAt"} & set(shown)
    oldest = (await plain.with_(x_appwrite_response_format="1.5.0").get(f"/v1/functions/{function_id}")).json
    assert not {"scopes", "specification", "buildSpecification"} & set(oldest)


@pytest.mark.behaviours(179)
async def test_single_specification_of_old_versions_sets_both_new_ones(plain: Client) -> None:
    former = plain.with_(x_appwrite_response_format="1.8.0")
    fields = {"functionId": "f", "name": "fn", "runtime": "node-22", "specification": "s-1vcpu-1gb"}

    assert (await former.json("POST", "/v1/functions", fields)).json["specification"] == "s-1vcpu-1gb"
    newest = (await plain.with_(x_appwrite_response_format="2.5.0").get("/v1/functions/f")).json
    assert newest["buildSpecification"] == newest["runtimeSpecification"] == "s-1vcpu-1gb"


async def test_old_versions_reset_the_specification_and_the_newest_keeps_it(plain: Client) -> None:
    function_id = await given.function(plain, specification="s-1vcpu-1gb")
    newest = plain.with_(x_appwrite_response_format="2.5.0")

    kept = (await newest.put(f"/v1/functions/{function_id}", name="fn")).json
    assert kept["buildSpecification"] == kept["runtimeSpecification"] == "s-1vcpu-1gb"
    reset = (await plain.put(f"/v1/functions/{function_id}", name="fn")).json
    assert reset["specification"] == reset["runtimeSpecification"] == "s-8vcpu-8gb"


async def test_format_newer_than_the_server_is_answered_with_a_warning(plain: Client) -> None:
    reply = await plain.with_(x_appwrite_response_format="9.0.0").get("/v1/functions")

    assert reply.status == 200
    assert "9.0.0" in reply.headers["x-appwrite-warning"]


@pytest.mark.behaviours(73, 75, 76)
async def test_executions_can_be_routed_to_an_older_deployment(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)
    first = (await key.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    second = await given.upload(key, function_id)
    await given.built(services, "p1", second)
    foreign = await given.upload(key, await given.function(key))

    reply = await key.patch(f"/v1/functions/{function_id}/deployment", deploymentId=first)
    assert reply.status == 200
    assert reply.json["deploymentId"] == first
    assert reply.json["latestDeploymentId"] == second
    assert reply.json["deploymentCreatedAt"] != ""
    again = await key.patch(f"/v1/functions/{function_id}/deployments/{second}")
    assert again.json["deploymentId"] == second
    for other in (foreign, "unknown"):
        refused = await key.patch(f"/v1/functions/{function_id}/deployment", deploymentId=other)
        assert refused.error == (404, "deployment_not_found")


@pytest.mark.behaviours(74)
async def test_deployment_that_is_not_ready_is_not_activated(key: Client) -> None:
    function_id = await given.function(key)
    deployment_id = await given.upload(key, function_id)

    reply = await key.patch(f"/v1/functions/{function_id}/deployment", deploymentId=deployment_id)
    assert reply.error == (400, "build_not_ready")
