"""Histories of resources, the project's feed, and trees of causes over the wire."""

import random
from typing import Any

import msgspec
import pytest

from annals.app.services import Services
from annals.domain.function import Function
from annals.domain.project import Project
from annals.store.log.log import Meta
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.test_as_of import follow


def types(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [event["type"] for event in reply.json["events"]]


def changes(event: Any) -> dict[str, tuple[Any, Any]]:
    return {change["field"]: (change["from"], change["to"]) for change in event["changes"]}


async def test_history_of_a_function_names_actors_and_changed_fields(services: Services, plain: Client) -> None:
    function_id = await given.function(plain, name="First", timeout=10)
    await plain.with_(x_request_id="change1").put(f"/v1/functions/{function_id}", name="Second", timeout=20)

    reply = await plain.get(f"/v1/functions/{function_id}/history")

    assert types(reply) == ["function.created", "function.updated"]
    created, updated = reply.json["events"]
    assert changes(created)["name"] == (None, "First")
    assert changes(updated) == {
        "name": ("First", "Second"),
        "timeout": (10, 20),
        "live": (True, False),
    }
    assert updated["actor"] == {"type": "key", "id": "all", "name": "all"}
    assert (updated["requestId"], updated["correlation"], updated["causation"]) == ("change1", "change1", None)
    assert (updated["resourceType"], updated["resourceId"], updated["version"]) == ("function", function_id, 2)
    assert updated["position"] == int(updated["$id"]) == int(reply.headers["x-annals-position"])
    assert updated["address"] == "203.0.113.7"


async def test_key_keeps_its_name_when_it_is_revoked(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    await services.log.run(Project.revoke_key, Project.key("p1"), meta=Meta(actor="test"), key_id="all")
    other = plain.with_(x_appwrite_key="p1-read")

    assert (await other.get(f"/v1/functions/{function_id}/history")).error[0] == 401
    found = await services.log.reader.of_stream(f"function:p1:{function_id}")
    assert found[0].event.metadata["actor"] == "key:all"


async def test_secrets_are_shown_as_fingerprints(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}/variables"
    for variable_id, value in (("v1", "hunter2"), ("v2", "hunter2"), ("v3", "other")):
        await plain.post(path, variableId=variable_id, key=variable_id, value=value)
    await plain.put(f"{path}/v1", key="RENAMED", value="other")

    reply = await plain.get(f"/v1/functions/{function_id}/history")

    assert b"hunter2" not in reply.body
    values = [
        changes(event).get(f"variables.v{n}.value", (None, None))[1] for n, event in enumerate(reply.json["events"])
    ]
    assert values[1] == values[2] != values[3]
    assert changes(reply.json["events"][-1]) == {
        "variables.v1.key": ("v1", "RENAMED"),
        "variables.v1.value": (values[1], values[3]),
    }
    assert types(await plain.get(f"{path}/v1/history")) == ["function.variable_added", "function.variable_changed"]
    assert (await plain.get(f"{path}/v9/history")).error == (404, "variable_not_found")


async def test_deployments_executions_and_the_project_have_histories(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    execution = (await given.execute(plain, function_id)).json["$id"]
    deployment = (await plain.get(f"/v1/functions/{function_id}")).json["deploymentId"]
    other = await given.function(plain)
    path = f"/v1/functions/{function_id}"

    built = await plain.get(f"{path}/deployments/{deployment}/history")
    assert types(built)[:3] == ["deployment.upload_started", "deployment.source_stored", "deployment.build_queued"]
    assert types(built)[-1] == "deployment.build_succeeded"
    ran = await plain.get(f"{path}/executions/{execution}/history")
    assert types(ran) == ["execution.requested", "execution.completed"]
    assert changes(ran.json["events"][1])["status"] == ("processing", "completed")
    assert types(await plain.get("/v1/project/history"))[:2] == ["project.created", "project.key_added"]
    for resource in (f"deployments/{deployment}", f"executions/{execution}"):
        assert (await plain.get(f"/v1/functions/{other}/{resource}/history")).error[0] == 404


async def test_deleted_resource_keeps_its_history_and_unknown_one_has_none(services: Services, plain: Client) -> None:
    await given.function(plain, functionId="f", name="First")
    await plain.delete("/v1/functions/f")
    await given.function(plain, functionId="f", name="Again")

    reply = await plain.get("/v1/functions/f/history")

    assert types(reply) == ["function.created", "function.deleted", "function.created"]
    assert changes(reply.json["events"][1]) == {"deleted": (None, True)}
    assert changes(reply.json["events"][2])["name"] == (None, "Again")
    assert (await plain.get("/v1/functions/nothing/history")).error == (404, "function_not_found")


async def test_histories_take_queries_and_cursors_like_other_lists(plain: Client) -> None:
    function_id = await given.function(plain)
    for timeout in (1, 2, 3):
        await plain.put(f"/v1/functions/{function_id}", name="N", timeout=timeout)
    path = f"/v1/functions/{function_id}/history"
    whole = (await plain.get(path)).json

    page = await plain.get(
        path, [given.query("cursorAfter", None, whole["events"][0]["$id"]), given.query("limit", None, 2)]
    )
    assert page.json == {"total": 4, "events": whole["events"][1:3]}
    newest = await plain.get(path, [given.query("orderDesc", "position"), given.query("limit", None, 1)])
    assert newest.json["events"] == whole["events"][-1:]
    updates = await plain.get(path, [given.query("equal", "type", "function.updated")])
    assert updates.json == {"total": 3, "events": whole["events"][1:]}
    assert (await plain.get(path, [given.query("cursorAfter", None, "999")])).error == (400, "general_cursor_not_found")


async def test_pages_of_a_long_history_are_the_same_whether_they_are_filtered_or_not(
    services: Services, plain: Client
) -> None:
    """Without filters a page is read as a range of its stream from a snapshot on; with a filter the whole stream is
    read."""
    function_id = await given.function(plain)
    key = Function.key("p1", function_id)
    function = await services.log.load(key)
    for number in range(240):
        function.update(msgspec.structs.replace(function.configuration, timeout=1 + number % 7, name=f"n{number}"))
        if number % 30 == 0:
            await services.log.record([function], meta=Meta(actor="test"))
    await services.log.run(Function.delete, key, meta=Meta(actor="test"))
    await given.function(plain, functionId=function_id)
    path = f"/v1/functions/{function_id}/history"
    ids = [recorded_event.position for recorded_event in await services.log.reader.of_stream(key.stream)]
    everything = given.query("greaterThan", "position", 0)
    chance = random.Random(5)

    for _ in range(25):
        queries = [given.query("limit", None, chance.choice([1, 7, 25, 40]))]
        if chance.random() < 0.7:
            queries.append(
                given.query(chance.choice(["orderDesc", "orderAsc"]), chance.choice(["position", "version"]))
            )
        if chance.random() < 0.3:
            queries.append(given.query("offset", None, chance.choice([1, 50, 300])))
        if chance.random() < 0.6:
            cursor = chance.choice(["cursorAfter", "cursorBefore"])
            queries.append(given.query(cursor, None, str(chance.choice([ids[0], ids[-1], *ids]))))
        assert (await plain.get(path, queries)).json == (await plain.get(path, [*queries, everything])).json, queries
    gone = [given.query("cursorAfter", None, "999999999")]
    assert (await plain.get(path, gone)).error == (400, "general_cursor_not_found")


async def test_feed_is_filtered_by_type_resource_actor_and_time(services: Services, plain: Client) -> None:
    await given.function(plain, functionId="f1")
    await given.function(plain, functionId="f2")
    await plain.put("/v1/functions/f1", name="N")
    await plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all").post(
        "/v1/functions", functionId="other", name="x", runtime="node-22"
    )
    await follow(services)
    everything = (await plain.get("/v1/events", [given.query("limit", None, 100)])).json

    assert [event["resourceId"] for event in everything["events"]][-3:] == ["f1", "f2", "f1"]
    assert "other" not in str(everything)
    assert "changes" not in everything["events"][-1]
    assert everything["events"][-1]["data"]["changed"] == ["name"]
    positions = [event["position"] for event in everything["events"]]
    assert positions == sorted(positions)

    assert types(await plain.get("/v1/events", type="function.updated")) == ["function.updated"]
    assert types(await plain.get("/v1/events", type="project"))[0] == "project.created"
    assert types(await plain.get("/v1/events", resource="function:f1")) == ["function.created", "function.updated"]
    assert len(types(await plain.get("/v1/events", actor="key:all"))) == 3
    assert types(await plain.get("/v1/events", actor="test", type="function")) == []
    assert types(await plain.get("/v1/events", after=str(positions[-2]))) == ["function.updated"]
    for unknown, says in (
        ({"type": "functions.updated"}, "Invalid `type` param: There are no events functions.updated. Known are "),
        ({"type": "function.renamed"}, "Invalid `type` param: There are no events function.renamed. Known of function"),
        ({"resource": "variable:v"}, "Invalid `resource` param: There is no kind of resource variable. Known are "),
    ):
        refused = await plain.get("/v1/events", **unknown)
        assert refused.error == (400, "general_argument_invalid")
        assert refused.json["message"].startswith(says)
    assert types(await plain.get("/v1/events", type="rule.created")) == []  # the kind exists, and has no rows yet
    since = everything["events"][-1]["$createdAt"]
    assert (
        types(await plain.get("/v1/events", [given.query("greaterThanEqual", "$createdAt", since)]))[-1]
        == "function.updated"
    )
    page = await plain.get(
        "/v1/events", [given.query("cursorBefore", None, str(positions[-1])), given.query("limit", None, 1)]
    )
    assert page.json["events"] == everything["events"][-2:-1]
    assert (await plain.get("/v1/events", [given.query("cursorAfter", None, "x")])).error == (
        400,
        "general_cursor_not_found",
    )


async def test_single_event_shows_its_changes(services: Services, plain: Client) -> None:
    function_id = await given.function(plain, name="First")
    await plain.put(f"/v1/functions/{function_id}", name="Second", entrypoint="index.js")
    position = await services.log.reader.position()

    event = (await plain.get(f"/v1/events/{position}")).json

    assert changes(event) == {"name": ("First", "Second"), "live": (True, False)}
    other = plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")
    assert (await other.get(f"/v1/events/{position}")).error == (404, "event_not_found")
    assert (await plain.get("/v1/events/999999")).error == (404, "event_not_found")
    assert (await plain.get("/v1/events/soon")).error == (400, "general_argument_invalid")


async def test_tree_holds_all_events_that_the_request_caused(services: Services, plain: Client) -> None:
    function_id = await given.function(plain)
    deployment_id = await given.upload(plain.with_(x_request_id="deploy1"), function_id)
    queued = await services.log.reader.position()
    meta = Meta(actor="worker:w1", causation=str(queued), correlation="deploy1")
    await given.built(services, "p1", deployment_id, meta=meta)
    await follow(services)

    trees = [(await plain.get(f"/v1/events/{position}/tree")).json for position in (queued, queued + 1, queued + 3)]

    assert trees[0] == trees[1] == trees[2]
    assert trees[0]["correlation"] == "deploy1"
    roots = trees[0]["events"]
    assert [node["event"]["type"] for node in roots] == [
        "deployment.upload_started", "deployment.source_stored", "deployment.build_queued",
    ]  # fmt: skip
    caused = [node["event"]["type"] for node in roots[2]["caused"]]
    assert caused[0] == "deployment.build_claimed"
    assert caused[-1] == "function.deployment_activated"
    assert trees[0]["total"] == len(roots) + len(caused)
    assert trees[0]["truncated"] is False


@pytest.mark.parametrize(
    "path", ["/v1/events", "/v1/events/1", "/v1/events/1/tree", "/v1/functions/f/history", "/v1/project/history"]
)
async def test_history_without_its_scope_is_refused(plain: Client, path: str) -> None:
    reply = await plain.with_(x_appwrite_key="p1-read").get(path)
    assert reply.error == (401, "general_unauthorized_scope")
