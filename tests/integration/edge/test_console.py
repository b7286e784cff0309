"""Endpoints for command-line tools: the instance's variables and regions, and short-lived keys."""

from typing import Any

import pytest

from annals.app.identity.secret_keys import digest
from annals.app.services import Services
from annals.domain.project import ApiKey, Project
from tests.integration.edge import given
from tests.integration.edge.client import Client


async def test_instances_variables_are_for_keys_and_admins(plain: Client, admin: Client, anonymous: Client) -> None:
    answer = (await plain.get("/v1/console/variables")).json

    assert answer["_APP_DOMAIN_FUNCTIONS"] == "functions.localhost"
    assert answer["_APP_VCS_ENABLED"] is True
    assert (await admin.with_(x_appwrite_project="console").get("/v1/console/variables")).json == answer
    assert (await anonymous.get("/v1/console/variables")).error == (401, "general_unauthorized_scope")


async def test_console_lists_one_region(anonymous: Client) -> None:
    one = {"$id": "default", "name": "default", "available": True, "default": True}

    assert (await anonymous.get("/v1/console/regions")).json == {"total": 1, "regions": [one]}


async def test_ephemeral_key_opens_its_scopes_and_no_others(key: Client) -> None:
    made = await key.post("/v1/project/keys/ephemeral", scopes=["functions.read"], duration=60)

    assert made.status == 201, made.body
    answer = made.json
    assert answer["scopes"] == ["functions.read"]
    assert answer["expire"] > answer["$createdAt"]
    newest = key.headers.get("x-appwrite-response-format") == "2.5.0"
    assert answer["secret"].startswith("ephemeral_" if newest else "dynamic_")
    holder = key.with_(x_appwrite_key=answer["secret"])
    assert (await holder.get("/v1/functions")).status == 200
    assert (await holder.post("/v1/functions", functionId="f")).error == (401, "general_unauthorized_scope")
    assert (await holder.with_(x_appwrite_project="p2").get("/v1/functions")).status == 401


async def test_key_only_grants_scopes_that_it_holds(services: Services, plain: Client) -> None:
    scopes = ["keys.write", "users.read"]
    small = ApiKey(key_id="small", name="small", digest=digest("small"), scopes=scopes)
    await services.log.run(Project.add_key, Project.key("p1"), meta=given.META, key=small)
    holder = plain.with_(x_appwrite_key="small")

    made = await holder.post("/v1/project/keys/ephemeral", scopes=["users.read"], duration=60)
    refused = await holder.post("/v1/project/keys/ephemeral", scopes=["functions.write"], duration=60)

    assert made.status == 201
    assert refused.error == (401, "general_unauthorized_scope")


@pytest.mark.parametrize(
    "sent",
    [
        {"scopes": ["functions.read"], "duration": 3601},
        {"scopes": ["functions.read"]},
        {"scopes": ["nope"], "duration": 9},
    ],
)
async def test_ephemeral_key_has_known_scopes_and_at_most_an_hour(plain: Client, sent: dict[str, Any]) -> None:
    assert (await plain.post("/v1/project/keys/ephemeral", **sent)).error == (400, "general_argument_invalid")


async def test_admin_gets_a_project_key_for_local_runs(admin: Client, plain: Client, anonymous: Client) -> None:
    made = await admin.post("/v1/projects/p1/jwts", scopes=["functions.read"], duration=3600)

    assert made.status == 201, made.body
    assert (await plain.with_(x_appwrite_key=made.json["jwt"]).get("/v1/functions")).status == 200
    assert (await admin.post("/v1/projects/nope/jwts", scopes=[])).error == (404, "project_not_found")
    assert (await plain.post("/v1/projects/p1/jwts", scopes=[])).error == (401, "general_unauthorized_scope")
    assert (await anonymous.post("/v1/projects/p1/jwts", scopes=[])).error == (401, "general_unauthorized_scope")
