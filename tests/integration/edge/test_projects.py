"""The console: its users are admins, who create, key and delete projects through it (around.md 2)."""

from typing import Any

import pytest

from annals.app.services import Services
from annals.cli.users import make_admin
from tests.integration.edge.client import Client
from tests.integration.edge.given import function, ids, query, user

ADMIN = {"email": "root@x.test", "password": "password8"}


@pytest.fixture
async def console(anonymous: Client, services: Services) -> Client:
    """An admin who signed in like the stock CLI."""
    await make_admin(services.log, services.settings, name="Root", **ADMIN)
    client = anonymous.with_(x_appwrite_project="console")
    reply = await client.post("/v1/account/sessions/email", **ADMIN)
    assert reply.status == 201, reply.body
    return client.with_(cookie=reply.headers["set-cookie"])


@pytest.fixture
def admin(console: Client) -> Client:
    """The same admin in a project."""
    return console.with_(x_appwrite_project="p1", x_appwrite_mode="admin")


async def test_admin_may_do_everything_in_a_project(admin: Client, plain: Client) -> None:
    function_id = await function(admin)

    assert (await admin.get(f"/v1/functions/{function_id}")).status == 200
    assert (await admin.get("/v1/users")).status == 200
    without_mode = admin.with_(x_appwrite_mode=None)
    assert (await without_mode.get("/v1/users")).error == (401, "general_unauthorized_scope")


async def test_only_users_of_the_console_are_admins(plain: Client, console: Client) -> None:
    await user(plain, "ada", **ADMIN)
    ada = plain.with_(x_appwrite_key=None)
    reply = await ada.post("/v1/account/sessions/email", **ADMIN)
    ada = ada.with_(cookie=reply.headers["set-cookie"], x_appwrite_mode="admin")

    assert (await ada.get("/v1/functions")).error == (401, "general_unauthorized_scope")
    assert (await ada.get("/v1/projects")).error == (401, "general_unauthorized_scope")
    assert (await console.get("/v1/account")).json["email"] == "root@x.test"
    assert (await console.with_(x_appwrite_mode="admin").get("/v1/account")).error == (400, "general_bad_request")
    assert (await console.get("/v1/users")).error == (401, "general_unauthorized_scope")


async def test_project_is_made_read_renamed_and_ended(console: Client, anonymous: Client) -> None:
    made = (await console.post("/v1/projects", projectId="new", name="New", teamId="t", region="default")).json
    assert (made["$id"], made["name"], made["status"]) == ("new", "New", "active")
    assert {switch["enabled"] for switch in made["services"]} == {True}
    assert (await console.post("/v1/projects", projectId="new", name="N")).error == (409, "project_already_exists")
    assert (await console.post("/v1/projects", projectId="console", name="N")).error == (409, "project_already_exists")
    assert ids(await console.get("/v1/projects"), "projects") == ["p1", "p2", "new"]
    assert ids(await console.get("/v1/projects", [query("equal", "name", "New")]), "projects") == ["new"]
    assert ids(await console.get("/v1/projects", search="p2"), "projects") == ["p2"]
    assert (await console.patch("/v1/projects/new", name="Newer")).json["name"] == "Newer"
    assert (await console.get("/v1/projects/new")).json["name"] == "Newer"

    key = await project_key(console, "new", ["users.write", "functions.write"])
    await user(key, "ada", email="ada@x.test")
    assert (await console.delete("/v1/projects/new")).status == 204
    assert (await console.get("/v1/projects/new")).error == (404, "project_not_found")
    assert (await key.get("/v1/functions")).error == (404, "project_not_found")
    await console.post("/v1/projects", projectId="new", name="Again")
    again = await project_key(console, "new", ["users.write"])
    await user(again, "ada", email="ada@x.test")

    answer = (await console.get("/v1/projects/new/history")).json["events"]
    assert [event["type"] for event in answer[:3]] == ["project.created", "project.renamed", "project.key_added"]
    assert [event["type"] for event in answer[3:]] == ["project.deleted", "project.created", "project.key_added"]
    assert {(event["actor"]["type"], event["actor"]["name"]) for event in answer} == {("admin", "Root")}
    assert (await console.get("/v1/projects/nothing/history")).error == (404, "project_not_found")


async def project_key(console: Client, project: str, scopes: list[str], **fields: Any) -> Client:
    reply = await console.post(f"/v1/projects/{project}/keys", name="K", scopes=scopes, **fields)
    assert reply.status == 201, reply.body
    return console.with_(cookie=None, x_appwrite_project=project, x_appwrite_key=reply.json["secret"])


async def test_secret_of_a_key_is_shown_once(console: Client) -> None:
    made = (await console.post("/v1/projects/p1/keys", name="K", scopes=["functions.read"])).json
    key = console.with_(cookie=None, x_appwrite_project="p1", x_appwrite_key=made["secret"])
    path = f"/v1/projects/p1/keys/{made['$id']}"

    assert (await key.get("/v1/functions")).status == 200
    assert (await console.get(path)).json == made | {"secret": ""}
    listed = (await console.get("/v1/projects/p1/keys")).json
    assert (listed["total"], {row["secret"] for row in listed["keys"]}) == (4, {""})
    assert (await console.delete(path)).status == 204
    assert (await console.delete(path)).error == (404, "key_not_found")
    assert (await key.get("/v1/functions")).error == (401, "user_unauthorized")
    old = await project_key(console, "p1", ["functions.read"], expire="2020-01-01T00:00:00.000+00:00")
    assert (await old.get("/v1/functions")).error == (401, "project_key_expired")
    for wrong in ({"scopes": ["nope.read"]}, {"expire": "soon"}, {"name": ""}):
        reply = await console.json("POST", "/v1/projects/p1/keys", {"name": "K", "scopes": [], **wrong})
        assert reply.error == (400, "general_argument_invalid")
    assert (await console.get("/v1/projects/nope/keys")).error == (404, "project_not_found")


async def test_only_admins_reach_projects(plain: Client, anonymous: Client) -> None:
    for client in (plain, anonymous, plain.with_(x_appwrite_key=None)):
        for path in ("/v1/projects", "/v1/projects/p1", "/v1/projects/p1/keys", "/v1/projects/p1/platforms"):
            assert (await client.get(path)).error == (401, "general_unauthorized_scope")


@pytest.mark.parametrize(
    ("path", "body", "domain_error"),
    [
        ("service", {"service": "functions", "status": False}, "general_service_disabled"),
        ("api", {"api": "rest", "status": False}, "general_api_disabled"),
    ],
)
async def test_switched_off_service_refuses_users_and_guests(
    console: Client, admin: Client, plain: Client, *, path: str, body: dict[str, Any], domain_error: str
) -> None:
    guest = plain.with_(x_appwrite_key=None)
    switched = await console.json("PATCH", f"/v1/projects/p1/{path}", body)
    assert switched.status == 200

    assert (await guest.get("/v1/functions/runtimes")).error == (403, domain_error)
    assert (await guest.post("/v1/functions/f/executions")).error == (403, domain_error)
    assert (await plain.get("/v1/functions")).status == 200
    assert (await admin.get("/v1/functions")).status == 200
    assert (await guest.get("/v1/account")).error[1] in {domain_error, "general_unauthorized_scope"}

    await console.json("PATCH", f"/v1/projects/p1/{path}", {**body, "status": True})
    assert (await guest.get("/v1/functions/runtimes")).status == 200


async def test_key_reads_and_switches_its_own_project(plain: Client) -> None:
    switched = (await plain.patch("/v1/project/services/functions", enabled=False)).json
    assert {row["$id"]: row["enabled"] for row in switched["services"]}["functions"] is False
    assert (await plain.with_(x_appwrite_key=None).get("/v1/functions/runtimes")).status == 403
    assert (await plain.patch("/v1/project/protocols/rest", enabled=False)).json["protocols"][0]["enabled"] is False
    assert (await plain.get("/v1/project")).json["$id"] == "p1"
    assert (await plain.with_(x_appwrite_key="p1-read").get("/v1/project")).error[0] == 401
