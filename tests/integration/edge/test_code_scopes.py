"""A key only changes code whose scopes it holds, by every operation that reaches the code. Admins change all."""

from collections.abc import Awaitable, Callable

import pytest

from annals.app.identity.scopes import FUNCTIONS_WRITE
from annals.app.identity.secret_keys import digest
from annals.app.services import Services
from annals.domain.project import ApiKey, Project
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.given import installation, link
from tests.routes import ENDPOINTS

HELD = ["functions.write", "functions.read", "events.read", "project.write", "vcs.write", "teams.read"]
MORE = ["teams.read", "users.write", "keys.write"]
VALUES = {"name": "fn", "runtime": "node-22", "entrypoint": "index.js"}


async def key_of(services: Services, plain: Client, name: str, scopes: list[str]) -> Client:
    key = ApiKey(key_id=name, name=name, digest=digest(name), scopes=scopes)
    await services.log.run(Project.add_key, Project.key("p1"), meta=given.META, key=key)
    return plain.with_(x_appwrite_key=name)


@pytest.fixture
async def limited(services: Services, plain: Client) -> Client:
    """A key that may write functions, project variables and installations, and little else."""
    return await key_of(services, plain, "limited", HELD)


def refused(reply: Reply) -> bool:
    """Return True if the error names all scopes that the key lacks."""
    assert reply.error == (401, "general_unauthorized_scope"), reply.body
    return "users.write" in reply.message and "keys.write" in reply.message and "teams.read" not in reply.message


async def test_key_cannot_create_a_function_with_scopes_it_lacks(limited: Client) -> None:
    assert refused(await limited.json("POST", "/v1/functions", {**VALUES, "functionId": "f", "scopes": MORE}))

    made = await limited.json("POST", "/v1/functions", {**VALUES, "functionId": "f", "scopes": ["teams.read"]})

    assert made.status == 201
    assert refused(await limited.put("/v1/functions/f", **VALUES, scopes=MORE))
    dry_run = await limited.send(
        "PUT", "/v1/functions/f", query="dryRun=true", content_type="application/json",
        body=b'{"name": "fn", "scopes": ["users.write", "keys.write"]}',
    )  # fmt: skip
    assert refused(dry_run)
    assert (await limited.get("/v1/functions/f")).json["scopes"] == ["teams.read"]


async def test_ephemeral_key_makes_no_function_with_scopes_that_it_lacks(plain: Client) -> None:
    made = await plain.post("/v1/project/keys/ephemeral", scopes=["functions.write", "teams.read"], duration=60)
    child = plain.with_(x_appwrite_key=made.json["secret"])

    assert refused(await child.json("POST", "/v1/functions", {**VALUES, "functionId": "f", "scopes": MORE}))


async def test_scope_counts_by_either_of_its_names(services: Services, plain: Client) -> None:
    maker = await key_of(services, plain, "maker", ["functions.write", "executions.write"])

    made = await maker.json("POST", "/v1/functions", {**VALUES, "functionId": "f", "scopes": ["execution.write"]})

    assert made.status == 201, made.body


async def test_admin_gives_code_any_scopes(admin: Client, services: Services) -> None:
    acting = admin.with_(x_appwrite_mode="admin", x_appwrite_project="p1")

    made = await acting.json("POST", "/v1/functions", {**VALUES, "functionId": "f", "scopes": MORE})

    assert made.status == 201, made.body
    assert (await acting.put("/v1/functions/f", **VALUES, scopes=[*MORE, "users.read"])).status == 200


CHANGES: dict[str, Callable[[Client, str, str], Awaitable[Reply]]] = {
    "upload": lambda key, f, _: key.upload(f"{f}/deployments", {"activate": "true"}, file=given.SOURCE),
    "duplicate": lambda key, f, d: key.post(f"{f}/deployments/duplicate", deploymentId=d),
    "rebuild": lambda key, f, d: key.post(f"{f}/deployments/{d}/build", buildId="b"),
    "template": lambda key, f, _: key.post(
        f"{f}/deployments/template", repository="templates", owner="annals", rootDirectory="node/starter",
        type="branch", reference="main",
    ),
    "repository": lambda key, f, _: key.post(f"{f}/deployments/vcs", type="branch", reference="main"),
    "activation": lambda key, f, d: key.patch(f"{f}/deployment", deploymentId=d),
    "activation by path": lambda key, f, d: key.patch(f"{f}/deployments/{d}"),
    "variable": lambda key, f, _: key.post(f"{f}/variables", variableId="v", key="NODE_OPTIONS", value="--require x"),
    "variable changed": lambda key, f, _: key.put(f"{f}/variables/known", key="NODE_OPTIONS", value="--require x"),
    "policy": lambda key, f, _: key.put(f"{f}/policy", traffic=[]),
    "project variable": lambda key, _f, _d: key.post("/v1/project/variables", variableId="v", key="K", value="v"),
    "project variable changed": lambda key, _f, _d: key.put("/v1/project/variables/shared", value="v"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
async def test_key_changes_no_code_that_has_scopes_which_it_lacks(
    services: Services, plain: Client, limited: Client, change: str
) -> None:
    function_id = await given.running_function(services, plain, scopes=MORE)
    path = f"/v1/functions/{function_id}"
    deployment_id = (await plain.get(path)).json["deploymentId"]
    await plain.post(f"{path}/variables", variableId="known", key="K", value="v")
    await plain.post("/v1/project/variables", variableId="shared", key="S", value="v")
    before = await plain.get("/v1/functions")

    assert refused(await CHANGES[change](limited, path, deployment_id))

    assert (await plain.get("/v1/functions")).body == before.body
    allowed = await CHANGES[change](await key_of(services, plain, "full", [*HELD, *MORE]), path, deployment_id)
    assert allowed.status not in {401, 403}, allowed.body


async def test_key_takes_scopes_from_code_and_deletes_it(services: Services, plain: Client, limited: Client) -> None:
    function_id = await given.running_function(services, plain, scopes=MORE)
    other = await given.running_function(services, plain, scopes=MORE)

    assert (await limited.put(f"/v1/functions/{function_id}", name="fn", scopes=["teams.read"])).status == 200
    assert (await given.upload(limited, function_id)) != ""
    assert (await limited.delete(f"/v1/functions/{other}")).status == 204


async def test_key_reverts_to_no_scopes_that_it_lacks(services: Services, plain: Client, limited: Client) -> None:
    function_id = await given.running_function(services, plain, scopes=MORE)
    before = int((await plain.get(f"/v1/functions/{function_id}")).headers["x-annals-position"])
    path = f"/v1/functions/{function_id}"
    await plain.put(path, name="fn", scopes=[])

    assert refused(await limited.post(f"{path}/revert", to=before))
    await plain.delete(path)
    assert refused(await limited.post(f"{path}/revert", to=before))
    assert (await plain.post(f"{path}/revert", to=before)).json["scopes"] == MORE


async def test_key_replaces_no_installation_of_code_that_has_scopes_which_it_lacks(
    plain: Client, limited: Client
) -> None:
    installation_id = await installation(plain, installationId="host")
    await given.function(plain, scopes=MORE, **link(installation_id))
    await limited.delete("/v1/vcs/installations/host")

    fields = {"provider": "git", "url": "https://evil.example.org"}
    assert refused(await limited.post("/v1/vcs/installations", installationId="host", **fields))
    assert (await limited.post("/v1/vcs/installations", installationId="other", **fields)).status == 201


def test_every_operation_that_writes_functions_judges_the_scopes_of_code() -> None:
    """Operations that only remove or end something are excepted, and so is reverting, which checks scopes itself."""
    exempt = {
        ("DELETE", "/v1/functions/{functionId}"),
        ("DELETE", "/v1/functions/{functionId}/deployments/{deploymentId}"),
        ("DELETE", "/v1/functions/{functionId}/variables/{variableId}"),
        ("PATCH", "/v1/functions/{functionId}/deployments/{deploymentId}/status"),
        ("PATCH", "/v1/functions/{functionId}/deployments/{deploymentId}/build"),
        ("POST", "/v1/functions/{functionId}/revert"),
    }
    writing = {(o.method, o.path): o for o in ENDPOINTS if o.declared["scopes"] == FUNCTIONS_WRITE}

    assert {route for route, operation in writing.items() if operation.declared["code_scopes"] is None} == exempt
