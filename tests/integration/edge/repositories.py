"""Fixtures of tests of connected repositories: installations, links, and internal hosts that are allowed."""

from typing import Any

from tests.integration.edge.client import Client

SECRET = "a secret of the webhook"


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
