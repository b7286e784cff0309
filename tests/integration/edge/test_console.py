"""What command-line tools ask for: the instance's variables and regions, and keys that last a short while."""

from typing import Any

import pytest

from annals.app import presented
from annals.app.services import Services
from annals.domain.commands.users import create_user, open_session
from annals.domain.project import CONSOLE
from annals.domain.user import Session, User
from tests.integration.edge import given
from tests.integration.edge.client import Client

META = given.META


@pytest.fixture
async def admin(services: Services, nobody: Client) -> Client:
    """A user of the console, signed in."""
    facts: dict[str, Any] = {"name": "Ada", "email": "ada@console.test", "phone": "", "sealed_password": ""}
    await services.log.run(
        create_user, User.absent(CONSOLE, "ada"), meta=META, project_id=CONSOLE, user_id="ada", **facts
    )
    session = Session(
        session_id="s1",
        digest=presented.digest("secret"),
        provider="server",
        expires_at=services.now().replace(year=2099),
        ip="",
    )
    await services.log.run(open_session, User.key(CONSOLE, "ada"), meta=META, session=session)
    return nobody.with_(cookie=f"a_session_console={presented.as_text('ada', 'secret')}")


async def test_the_instances_variables_are_for_keys_and_admins(plain: Client, admin: Client, nobody: Client) -> None:
    told = (await plain.get("/v1/console/variables")).json

    assert told["_APP_DOMAIN_FUNCTIONS"] == "functions.localhost"
    assert told["_APP_VCS_ENABLED"] is True
    assert (await admin.with_(x_appwrite_project="console").get("/v1/console/variables")).json == told
    assert (await nobody.get("/v1/console/variables")).error == (401, "general_unauthorized_scope")


async def test_there_is_one_region(nobody: Client) -> None:
    one = {"$id": "default", "name": "default", "available": True, "default": True}

    assert (await nobody.get("/v1/console/regions")).json == {"total": 1, "regions": [one]}


async def test_an_ephemeral_key_opens_its_scopes_and_no_others(key: Client) -> None:
    made = await key.post("/v1/project/keys/ephemeral", scopes=["functions.read"], duration=60)

    assert made.status == 201, made.body
    told = made.json
    assert told["scopes"] == ["functions.read"]
    assert told["expire"] > told["$createdAt"]
    newest = key.headers.get("x-appwrite-response-format") == "2.5.0"
    assert told["secret"].startswith("ephemeral_" if newest else "dynamic_")
    holder = key.with_(x_appwrite_key=told["secret"])
    assert (await holder.get("/v1/functions")).status == 200
    assert (await holder.post("/v1/functions", functionId="f")).error == (401, "general_unauthorized_scope")
    assert (await holder.with_(x_appwrite_project="p2").get("/v1/functions")).status == 401


async def test_a_key_hands_out_no_more_than_it_holds(services: Services, plain: Client) -> None:
    small = (await plain.post("/v1/project/keys/ephemeral", scopes=["keys.write"], duration=60)).json["secret"]

    refused = await plain.with_(x_appwrite_key=small).post(
        "/v1/project/keys/ephemeral", scopes=["functions.write"], duration=60
    )

    assert refused.error == (401, "general_unauthorized_scope")


@pytest.mark.parametrize(
    "sent",
    [
        {"scopes": ["functions.read"], "duration": 3601},
        {"scopes": ["functions.read"]},
        {"scopes": ["nope"], "duration": 9},
    ],
)
async def test_an_ephemeral_key_has_known_scopes_and_at_most_an_hour(plain: Client, sent: dict[str, Any]) -> None:
    assert (await plain.post("/v1/project/keys/ephemeral", **sent)).error == (400, "general_argument_invalid")


async def test_an_admin_is_handed_a_key_of_a_project_to_run_functions_locally(
    admin: Client, plain: Client, nobody: Client
) -> None:
    made = await admin.post("/v1/projects/p1/jwts", scopes=["functions.read"], duration=3600)

    assert made.status == 201, made.body
    assert (await plain.with_(x_appwrite_key=made.json["jwt"]).get("/v1/functions")).status == 200
    assert (await admin.post("/v1/projects/nope/jwts", scopes=[])).error == (404, "project_not_found")
    assert (await plain.post("/v1/projects/p1/jwts", scopes=[])).error == (401, "general_unauthorized_scope")
    assert (await nobody.post("/v1/projects/p1/jwts", scopes=[])).error == (401, "general_unauthorized_scope")
