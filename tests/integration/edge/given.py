"""Fixtures of tests, created the way that clients and workers create them: functions, users, connected repositories."""

import gzip
from typing import Any

from annals.app.services import Services
from annals.domain.commands.deployments import complete_build
from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.ports import Artefact
from annals.store.log.log import Meta
from tests.integration.edge.client import Client, Reply

SOURCE = gzip.compress(b"some code", mtime=0)
META = Meta(actor="test")

SECRET = "a secret of the webhook"


async def function(client: Client, **fields: Any) -> str:
    """Create a function of this client's project; return its id."""
    values = {"functionId": "unique()", "name": "fn", "runtime": "node-22", "entrypoint": "index.js", **fields}
    reply = await client.json("POST", "/v1/functions", values)
    assert reply.status == 201, reply.body
    return str(reply.json["$id"])


async def upload(client: Client, function_id: str, source: bytes = SOURCE, **fields: str) -> str:
    """Upload a deployment that waits for its build; return its id."""
    reply = await client.upload(
        f"/v1/functions/{function_id}/deployments", {"activate": "true", **fields}, file=source
    )  # fmt: skip
    assert reply.status == 202, reply.body
    return str(reply.json["$id"])


async def built(
    services: Services, project_id: str, deployment_id: str, *, succeeds: bool = True, meta: Meta = META
) -> None:
    """End the deployment's build. A successful build activates the deployment if that was requested."""
    key = Deployment.key(project_id, deployment_id)
    await services.log.run(Deployment.claim_build, key, meta=meta, worker="w1")
    await services.log.run(Deployment.start_build, key, meta=meta, epoch=1)
    recorded_events: dict[str, Any] = {
        "epoch": 1,
        "milliseconds": 1500,
        "specification": "s-1vcpu-1gb",
        "logs_digest": "",
        "logs_size": 0,
    }
    if not succeeds:
        await services.log.run(
            Deployment.fail_build, key, meta=meta, reason="command_failed", message="It failed.", **recorded_events
        )
        return
    blob = await services.blobs.put(f"artefacts/{project_id}/{deployment_id}/1/code.tar.gz", b"built")
    row = await services.database.row("SELECT * FROM deployments WHERE stream_id = %s", (key.stream,))
    assert row is not None
    await services.log.run(
        complete_build,
        Function.key(project_id, row["function_id"]),
        key,
        meta=meta,
        artefact=Artefact(key=blob.key, digest=blob.digest, size=blob.size),
        activate=row["activate"],
        **recorded_events,
    )


async def running_function(services: Services, client: Client, *, project_id: str = "p1", **fields: Any) -> str:
    """Create a function with an active deployment; return its id."""
    function_id = await function(client, **fields)
    await built(services, project_id, await upload(client, function_id))
    return function_id


def ids(reply: Reply, name: str) -> list[str]:
    """Return the ids of a list's rows."""
    assert reply.status == 200, reply.body
    return [row["$id"] for row in reply.json[name]]


def query(method: str, attribute: str | None = None, *values: Any) -> dict[str, Any]:
    """Return one query of a list."""
    return {"method": method, **({} if attribute is None else {"attribute": attribute}), "values": list(values)}


async def execute(client: Client, function_id: str, **fields: Any) -> Reply:
    """Create an execution. `async_` is the parameter `async`, which is a keyword in Python."""
    renamed = {"async" if name == "async_" else name: value for name, value in fields.items()}
    return await client.json("POST", f"/v1/functions/{function_id}/executions", renamed)


async def download(client: Client, function_id: str, deployment_id: str, **query: str) -> Reply:
    """Download a deployment's file."""
    return await client.get(f"/v1/functions/{function_id}/deployments/{deployment_id}/download", **query)


async def user(key: Client, user_id: str, **fields: Any) -> dict[str, Any]:
    """Create a user of the project with a key."""
    reply = await key.post("/v1/users", userId=user_id, **fields)
    assert reply.status == 201, reply.body
    made: dict[str, Any] = reply.json
    return made


async def signed_in(key: Client, user_id: str) -> Client:
    """Return a client with a session of its own, sent in a header."""
    reply = await key.post(f"/v1/users/{user_id}/sessions")
    assert reply.status == 201, reply.body
    return key.with_(x_appwrite_key=None, x_appwrite_session=reply.json["secret"])


async def guest(key: Client) -> Client:
    return key.with_(x_appwrite_key=None)


async def installation(client: Client, url: str = "https://git.example.org", **fields: str) -> str:
    sent = {"installationId": "unique()", "provider": "git", "url": url, "webhookSecret": SECRET, **fields}
    reply = await client.post("/v1/vcs/installations", **sent)
    assert reply.status == 201, reply.body
    return str(reply.json["$id"])


def link(installation_id: str, repository: str = "team/app", **fields: Any) -> dict[str, Any]:
    return {
        "installationId": installation_id,
        "providerRepositoryId": repository,
        "providerBranch": "main",
        **fields,
    }


async def deployments(client: Client, function_id: str) -> list[dict[str, Any]]:
    reply = await client.get(f"/v1/functions/{function_id}/deployments")
    rows: list[dict[str, Any]] = reply.json["deployments"]
    return rows
