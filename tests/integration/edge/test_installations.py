"""Installations and the pushes of their hosts: only signed ones, once each, by branch and path."""

import hashlib
import hmac
import json
from typing import Any

import pytest

from annals.app.services import Services
from annals.domain.project import Project
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.given import SECRET, deployments, installation, link


async def test_installations_are_listed_read_and_removed_without_their_secrets(
    plain: Client, services: Services
) -> None:
    one = await installation(plain, "https://git.example.org/", organization="team", password="hunter22")
    made = await plain.post("/v1/vcs/installations", installationId="two", provider="git", url="https://b.example.org")

    listed = await plain.get("/v1/vcs/installations")
    only = await plain.get("/v1/vcs/installations", [given.query("equal", "organization", "team")])
    read = await plain.get(f"/v1/vcs/installations/{one}")
    assert (listed.json["total"], given.ids(listed, "installations")) == (2, [one, "two"])
    assert given.ids(only, "installations") == [one]
    assert (read.json["provider"], read.json["url"]) == ("git", "https://git.example.org")
    assert len(made.json["webhookSecret"]) == 48
    assert "webhookSecret" not in read.json
    assert "hunter22" not in read.body.decode()
    project = await services.log.load(Project.key("p1"))
    assert "hunter22" not in project.installations[one].sealed

    again = await plain.post("/v1/vcs/installations", installationId="two", provider="git", url="https://b.example.org")
    assert again.error == (409, "installation_already_exists")
    assert (await plain.delete("/v1/vcs/installations/two")).status == 204
    for reply in (await plain.get("/v1/vcs/installations/two"), await plain.delete("/v1/vcs/installations/two")):
        assert reply.error == (404, "installation_not_found")
    other = plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")
    assert (await other.get(f"/v1/vcs/installations/{one}")).error == (404, "installation_not_found")
    reader = plain.with_(x_appwrite_key="p1-read")
    assert (await reader.get("/v1/vcs/installations")).error == (401, "general_unauthorized_scope")


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": "svn"},
        {"provider": "git", "url": "ext::sh -c id"},
        {"provider": "git", "url": "file:///etc"},
        {"provider": "git", "url": "http://git.example.org"},
        {"provider": "git", "url": "https://u:p@git.example.org"},
        {"provider": "git", "url": "ssh://git@git.example.org"},
        {"provider": "git", "url": "ssh://-oProxyCommand=id", "knownHosts": "x"},
        {"provider": "github"},
        {"provider": "github", "url": "ssh://a", "appId": "1", "privateKey": "k", "providerInstallationId": "1"},
        {"provider": "git", "url": "https://git.example.org", "webhookSecret": "short"},
    ],
)
async def test_installation_that_cannot_work_is_refused(plain: Client, fields: dict[str, str]) -> None:
    reply = await plain.post("/v1/vcs/installations", installationId="unique()", **fields)

    assert reply.error == (400, "general_argument_invalid")


def push(branch: str = "main", after: str = "a" * 40, **fields: Any) -> dict[str, Any]:
    commit = {
        "id": after,
        "message": "Change " + "y" * 300,
        "url": f"https://git.test/team/app/commit/{after}",
        "author": {"name": "Ada"},
        "added": ["fn/new.js"],
        "modified": ["docs/a.md"],
        "removed": [],
    }
    repository = {
        "id": 42,
        "name": "app",
        "full_name": "team/app",
        "html_url": "https://git.test/team/app",
        "owner": {"login": "team"},
    }
    return {
        "ref": f"refs/heads/{branch}",
        "after": after,
        "repository": repository,
        "commits": [commit],
        "head_commit": commit,
        "sender": {"html_url": "https://git.test/ada"},
        **fields,
    }


async def deliver(
    client: Client, installation_id: str, body: Any, *, event: str = "push", secret: str = SECRET
) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    signature = "sha256=" + hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()
    host = client.with_(
        x_appwrite_key=None, x_appwrite_project=None, x_github_event=event, x_hub_signature_256=signature
    )
    path = f"/v1/vcs/installations/{installation_id}/pushes"
    return await host.send("POST", path, query="project=p1", content_type="application/json", body=data)


async def test_push_deploys_and_the_connected_branch_activates(plain: Client) -> None:
    installation_id = await installation(plain)
    function_id = await given.function(plain, **link(installation_id))
    await given.function(plain, **link(installation_id, "team/other"))

    main = await deliver(plain, installation_id, push())
    side = await deliver(plain, installation_id, push("side", "b" * 40))

    assert main.status == side.status == 202
    rows = {row["$id"]: row for row in await deployments(plain, function_id)}
    [pushed], [other] = main.json["deployments"], side.json["deployments"]
    assert len(rows) == 3
    assert (rows[pushed]["activate"], rows[other]["activate"]) == (True, False)
    assert (rows[other]["providerBranch"], rows[other]["providerCommitHash"]) == ("side", "b" * 40)
    assert rows[pushed]["providerCommitAuthor"] == "Ada"
    assert len(rows[pushed]["providerCommitMessage"]) == 255
    assert rows[pushed]["providerBranchUrl"] == "https://git.test/team/app/tree/main"
    assert rows[pushed]["status"] == "waiting"


async def test_repeated_push_makes_one_deployment(plain: Client) -> None:
    installation_id = await installation(plain)
    function_id = await given.function(plain, **link(installation_id))

    first = await deliver(plain, installation_id, push())
    second = await deliver(plain, installation_id, push())

    assert first.json == second.json
    assert len(await deployments(plain, function_id)) == 2


@pytest.mark.parametrize(
    ("filters", "built"),
    [
        ({}, True),
        ({"providerBranches": ["main", "release/*"]}, True),
        ({"providerBranches": ["release/*"]}, False),
        ({"providerPaths": ["fn/**"]}, True),
        ({"providerPaths": ["web/**"]}, False),
        ({"providerPaths": ["**", "!docs/**", "!fn/**"]}, False),
        ({"providerBranches": ["main"], "providerPaths": ["**/*.md"]}, True),
    ],
)
async def test_pushes_are_filtered_by_branches_and_paths(
    plain: Client, filters: dict[str, list[str]], *, built: bool
) -> None:
    installation_id = await installation(plain)
    await given.function(plain, **link(installation_id), **filters)

    reply = await deliver(plain, installation_id, push())

    assert (reply.status, len(reply.json["deployments"])) == (202, int(built))


async def test_events_without_a_new_commit_deploy_nothing(plain: Client) -> None:
    installation_id = await installation(plain)
    function_id = await given.function(plain, **link(installation_id))

    for body, event in (
        ({"zen": "Keep it simple."}, "ping"),
        (push(deleted=True), "push"),
        (push(after="0" * 40), "push"),
        ({**push(), "ref": "refs/tags/1.0.0"}, "push"),
        (push(), "pull_request"),
    ):
        reply = await deliver(plain, installation_id, body, event=event)
        assert (reply.status, reply.json) == (200, {"deployments": []})
    assert len(await deployments(plain, function_id)) == 1


async def test_only_pushes_signed_by_the_host_are_accepted(plain: Client) -> None:
    installation_id = await installation(plain)
    function_id = await given.function(plain, **link(installation_id))

    forged = await deliver(plain, installation_id, push(), secret="another secret!!")
    unknown = await deliver(plain, "none", push())
    unreadable = await deliver(plain, installation_id, ["no push"])
    bare = plain.with_(x_appwrite_key=None, x_appwrite_project=None, x_github_event="push")
    path = f"/v1/vcs/installations/{installation_id}/pushes"
    unsigned = await bare.send("POST", path, query="project=p1", body=json.dumps(push()).encode())
    elsewhere = await bare.send("POST", path, query="project=p2", body=b"{}")
    nowhere = await bare.send("POST", path, body=b"{}")

    assert forged.error == unsigned.error == (401, "user_unauthorized")
    assert unknown.error == elsewhere.error == (404, "installation_not_found")
    assert unreadable.error == (400, "general_argument_invalid")
    assert nowhere.error == (401, "general_access_forbidden")
    assert len(await deployments(plain, function_id)) == 1


def _replaced(body: Any, path: tuple[Any, ...], text: str) -> Any:
    """Return a copy of a JSON value with the string at a path replaced."""
    if not path:
        return text
    copy = dict(body) if isinstance(body, dict) else list(body)
    copy[path[0]] = _replaced(copy[path[0]], path[1:], text)
    return copy


@pytest.mark.parametrize(
    "path",
    [
        ("ref",),
        ("after",),
        ("repository", "id"),
        ("repository", "name"),
        ("repository", "full_name"),
        ("repository", "html_url"),
        ("repository", "owner", "login"),
        ("commits", 0, "added", 0),
        ("head_commit", "message"),
        ("head_commit", "url"),
        ("head_commit", "author", "name"),
        ("sender", "html_url"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
@pytest.mark.parametrize("character", ["\0", "\ud800"], ids=["NUL", "surrogate"])
async def test_signed_push_with_text_that_cannot_be_stored_is_refused(
    plain: Client, path: tuple[Any, ...], character: str
) -> None:
    installation_id = await installation(plain)
    function_id = await given.function(plain, **link(installation_id))

    reply = await deliver(plain, installation_id, _replaced(push(), path, f"refs/heads/main{character}"))

    assert reply.error == (400, "general_argument_invalid")
    assert len(await deployments(plain, function_id)) == 1


async def test_texts_of_a_push_are_bounded(plain: Client) -> None:
    installation_id = await installation(plain)
    function_id = await given.function(plain, **link(installation_id))

    await deliver(plain, installation_id, _replaced(push(), ("head_commit", "author", "name"), "a" * 100_000))

    pushed = next(row for row in await deployments(plain, function_id) if row["providerCommitAuthor"])
    assert len(pushed["providerCommitAuthor"]) == 2048
