"""A function's policy over the wire: its history, its past states, and reverts (extensions.md)."""

import asyncio
import json

import pytest

from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.test_as_of import follow

DEFAULTS = {
    "scaling": {"minWarm": 0, "maxInstances": 0, "concurrency": 0, "idleSeconds": 0},
    "retries": {
        "attempts": 1,
        "backoffSeconds": 10,
        "maxAgeSeconds": 21_600,
        "on": [
            *("error", "timeout", "out_of_memory", "crashed"),
            *("start_failed", "worker_lost", "runtime_unavailable"),
        ],
    },
    "traffic": [],
}


async def test_function_has_the_contracts_policy_until_another_is_put(plain: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}/policy"
    assert (await plain.get(path)).json == {"functionId": function_id, **DEFAULTS}

    put = await plain.json("PUT", path, {"scaling": {"minWarm": 1}, "retries": {"attempts": 3, "on": ["timeout"]}})

    assert put.status == 200
    assert put.json["scaling"] == {**DEFAULTS["scaling"], "minWarm": 1}  # type: ignore[dict-item]
    assert put.json["retries"] == {**DEFAULTS["retries"], "attempts": 3, "on": ["timeout"]}  # type: ignore[dict-item]
    assert (await plain.get(path)).json == put.json
    assert (await plain.json("PUT", path, {})).json == {"functionId": function_id, **DEFAULTS}


async def test_policy_is_invisible_to_stock_clients(key: Client) -> None:
    function_id = await given.function(key)
    before = await key.get(f"/v1/functions/{function_id}")

    await key.json("PUT", f"/v1/functions/{function_id}/policy", {"scaling": {"concurrency": 2}})

    assert (await key.get(f"/v1/functions/{function_id}")).json == before.json


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"scaling": {"minWarm": -1}}, "minWarm"),
        ({"scaling": 3}, "Value must be an object of minWarm, maxInstances, concurrency, idleSeconds"),
        ({"scaling": {"minWarm": 3, "maxInstances": 2}}, "must not be greater than maxInstances"),
        ({"retries": {"attempts": 0}}, "attempts"),
        ({"retries": {"attempts": 2, "on": ["canceled"]}}, "on"),
        ({"retries": {"backoffSeconds": "soon"}}, "backoffSeconds"),
    ],
)
async def test_invalid_policy_is_refused(plain: Client, body: object, words: str) -> None:
    function_id = await given.function(plain)

    reply = await plain.json("PUT", f"/v1/functions/{function_id}/policy", body)

    assert reply.error == (400, "general_argument_invalid")
    assert words in reply.json["message"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"trafic": []}, "trafic"),
        ({"scaling": {"minwarm": 1}}, "minwarm"),
        ({"scaling": {"minwarm": None}}, "minwarm"),
        ({"retries": {"attempts": 3, "reasons": ["error"]}}, "reasons"),
        ({"traffic": [{"deploymentId": "d", "percent": 1, "weight": 2}]}, "weight"),
    ],
)
async def test_unknown_name_is_refused_with_its_name(plain: Client, method: str, body: object, name: str) -> None:
    path = f"/v1/functions/{await given.function(plain)}/policy"
    before = (await plain.json("PUT", path, {"retries": {"attempts": 3}})).json

    reply = await plain.json(method, path, body)

    assert reply.error == (400, "general_argument_invalid")
    assert f"`{name}`" in reply.json["message"]
    assert (await plain.get(path)).json == before


async def test_patch_changes_sent_fields_and_null_resets(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    path = f"/v1/functions/{function_id}/policy"
    deployment = (await plain.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    whole = {
        "scaling": {"minWarm": 1, "maxInstances": 4, "concurrency": 8, "idleSeconds": 600},
        "retries": {"attempts": 5, "backoffSeconds": 20, "maxAgeSeconds": 3600, "on": ["timeout"]},
        "traffic": [{"deploymentId": deployment, "percent": 10}],
    }
    expected = (await plain.json("PUT", path, whole)).json

    async def patched(body: object) -> None:
        reply = await plain.json("PATCH", path, body)
        assert (reply.status, reply.json) == (200, expected)
        assert (await plain.get(path)).json == expected

    expected["traffic"] = []
    await patched({"traffic": []})
    expected["scaling"]["minWarm"] = 2
    expected["retries"]["on"] = ["error", "timeout"]
    await patched({"scaling": {"minWarm": 2}, "retries": {"on": ["error", "timeout"]}})
    await patched({})
    await patched({"scaling": {}, "retries": []})
    expected["scaling"]["concurrency"] = 0
    expected["retries"] = DEFAULTS["retries"]
    await patched({"scaling": {"concurrency": None}, "retries": None})
    for body, words in (
        ({"scaling": {"minWarm": 5}}, "must not be greater than maxInstances"),
        ({"scaling": 3}, "Value must be an object of"),
        ({"retries": {"attempts": "many"}}, "attempts"),
        ({"traffic": "none"}, "traffic"),
    ):
        refused = await plain.json("PATCH", path, body)
        assert refused.error == (400, "general_argument_invalid")
        assert words in refused.json["message"]
    assert (await plain.get(path)).json == expected
    sent = json.dumps({"scaling": {"minWarm": 3}}).encode()
    dry_run = await plain.send("PATCH", path, query="dryRun=true", content_type="application/json", body=sent)
    assert [event["type"] for event in dry_run.json["events"]] == ["function.policy_changed"]
    assert (await plain.get(path)).json == expected
    assert (await plain.json("PATCH", "/v1/functions/nope/policy", {})).error == (404, "function_not_found")


async def test_policy_that_was_read_can_be_put_back(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    path = f"/v1/functions/{function_id}/policy"
    deployment = (await plain.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    read = (await plain.json("PUT", path, {"traffic": [{"deploymentId": deployment, "percent": 10}]})).json

    again = await plain.json("PUT", path, read)

    assert (again.status, again.json) == (200, read)


async def test_patches_at_once_keep_each_others_changes(plain: Client) -> None:
    path = f"/v1/functions/{await given.function(plain)}/policy"
    names = ("minWarm", "maxInstances", "concurrency", "idleSeconds")
    parts = [*({"scaling": {name: 3}} for name in names), {"retries": {"attempts": 3}}]

    replies = await asyncio.gather(*(plain.json("PATCH", path, part) for part in parts))

    assert {reply.status for reply in replies} == {200}
    policy = (await plain.get(path)).json
    assert set(policy["scaling"].values()) == {3}
    assert policy["retries"]["attempts"] == 3


async def test_policy_needs_the_scope_to_write_functions(plain: Client, anonymous: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}/policy"
    reader = anonymous.with_(x_appwrite_project="p1", x_appwrite_key="p1-read")
    other = anonymous.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")

    assert (await reader.json("PUT", path, {})).error == (401, "general_unauthorized_scope")
    assert (await reader.json("PATCH", path, {})).error == (401, "general_unauthorized_scope")
    assert (await reader.get(path)).status == 200
    assert (await other.get(path)).error == (404, "function_not_found")
    assert (await other.json("PUT", path, {})).error == (404, "function_not_found")


async def test_dry_run_of_a_policy_returns_its_event_and_unchanged_policy_records_nothing(plain: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}/policy"
    body = {"retries": {"attempts": 2}}

    async def dry_run() -> list[str]:
        sent = json.dumps(body).encode()
        reply = await plain.send("PUT", path, query="dryRun=true", content_type="application/json", body=sent)
        return [event["type"] for event in reply.json["events"]]

    assert await dry_run() == ["function.policy_changed"]
    assert (await plain.get(path)).json["retries"]["attempts"] == 1
    await plain.json("PUT", path, body)
    assert await dry_run() == []


async def test_history_shows_policy_changes_and_a_revert_restores_them(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}"
    first = await services.log.reader.position()
    await plain.json("PUT", f"{path}/policy", {"scaling": {"concurrency": 7}})

    [_, changed] = (await plain.get(f"{path}/history")).json["events"]
    assert (changed["type"], changed["changes"]) == (
        "function.policy_changed",
        [{"field": "policy.scaling.concurrency", "from": 0, "to": 7}],
    )
    assert (await plain.json("POST", f"{path}/revert", {"to": first})).status == 200
    assert (await plain.get(f"{path}/policy")).json["scaling"]["concurrency"] == 0


async def test_past_policy_is_answered_as_it_was(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}/policy"
    before = await services.log.reader.position()
    await plain.json("PUT", path, {"scaling": {"idleSeconds": 9}})
    after = await services.log.reader.position()
    await follow(services)

    assert (await plain.get(path, asOf=str(before))).json["scaling"]["idleSeconds"] == 0
    assert (await plain.get(path, asOf=str(after))).json["scaling"]["idleSeconds"] == 9
