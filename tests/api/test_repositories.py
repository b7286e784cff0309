"""A function that is connected to a repository, from its first build to the deployments of later pushes."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.client import Client
from tests.instance import AnnalsInstance, eventually
from tests.integration.vcs.hosts import Repository, http_host

CODE = """
module.exports = async ({ res }) => res.json({
  says: "%s", commit: process.env.APPWRITE_VCS_COMMIT_HASH, branch: process.env.APPWRITE_VCS_REPOSITORY_BRANCH,
  repository: process.env.APPWRITE_VCS_REPOSITORY_ID, root: process.env.APPWRITE_VCS_ROOT_DIRECTORY,
  type: process.env.APPWRITE_DEPLOYMENT_TYPE,
});
"""


@pytest.fixture(scope="module")
def client(annals_instance: AnnalsInstance) -> Client:
    return Client(annals_instance.endpoint, annals_instance.headers)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def host(repository: Repository) -> Iterator[str]:
    with http_host({"team/app": repository}) as url:
        yield url


def says(client: Client, function_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.execute(function_id, method="GET")["responseBody"])
    return found


def pushed(
    instance: AnnalsInstance, installation: dict[str, Any], branch: str, commit: str, changed: list[str]
) -> list[str]:
    """Deliver a push as its host does, and return the deployments that it created."""
    body = {
        "ref": f"refs/heads/{branch}",
        "after": commit,
        "repository": {"full_name": "team/app", "name": "app", "owner": {"login": "team"}},
        "commits": [{"id": commit, "message": "Pushed", "modified": changed, "author": {"name": "Ada"}}],
    }
    data = json.dumps(body).encode()
    signature = hmac.new(installation["webhookSecret"].encode(), data, hashlib.sha256).hexdigest()
    answer = httpx.post(
        f"{instance.endpoint}/vcs/installations/{installation['$id']}/pushes?project={instance.project}",
        content=data,
        headers={"x-hub-signature-256": f"sha256={signature}", "x-github-event": "push"},
    )
    assert answer.status_code == 202, answer.text
    found: list[str] = answer.json()["deployments"]
    return found


def test_connected_function_follows_its_repository(
    annals_instance: AnnalsInstance, client: Client, repository: Repository, host: str
) -> None:
    first = repository.commit({"fn/index.js": CODE % "one"}, "First")
    installation = client.call(
        "POST", "/vcs/installations", json={"installationId": "unique()", "provider": "git", "url": host}
    )
    function = {
        "functionId": "follows",
        "name": "follows",
        "runtime": "node-22",
        "entrypoint": "index.js",
        "installationId": installation["$id"],
        "providerRepositoryId": "team/app",
        "providerBranch": "main",
        "providerRootDirectory": "fn",
        "providerPaths": ["fn/**"],
    }
    client.call("POST", "/functions", json=function)

    [made] = client.call("GET", "/functions/follows/deployments")["deployments"]
    ready = client.ready("follows", made["$id"])
    assert (ready["providerCommitHash"], ready["providerCommitMessage"]) == (first, "First")
    assert says(client, "follows") == {
        "says": "one",
        "commit": first,
        "branch": "main",
        "repository": "team/app",
        "root": "fn",
        "type": "vcs",
    }

    second = repository.commit({"fn/index.js": CODE % "two"}, "Second")
    assert pushed(annals_instance, installation, "main", second, ["docs/a.md"]) == []
    [deployment] = pushed(annals_instance, installation, "main", second, ["fn/index.js"])
    assert pushed(annals_instance, installation, "main", second, ["fn/index.js"]) == [deployment]
    client.ready("follows", deployment)
    eventually(lambda: says(client, "follows")["says"] == "two")
    assert says(client, "follows")["commit"] == second

    side = repository.commit({"fn/index.js": CODE % "side"}, "Side", branch="side")
    [preview] = pushed(annals_instance, installation, "side", side, ["fn/index.js"])
    assert client.ready("follows", preview)["providerBranch"] == "side"
    assert says(client, "follows")["says"] == "two"

    back = client.call("POST", "/functions/follows/deployments/vcs", json={"type": "commit", "reference": first})
    assert back["providerCommitHash"] == first
    client.ready("follows", back["$id"])
    client.call("PATCH", "/functions/follows/deployment", json={"deploymentId": back["$id"]})
    assert says(client, "follows")["says"] == "one"


def test_template_of_a_connected_function_lands_in_its_repository(
    client: Client, repository: Repository, host: str
) -> None:
    repository.commit({"README.md": "Mine"}, "First")
    installation = client.call(
        "POST", "/vcs/installations", json={"installationId": "unique()", "provider": "git", "url": host}
    )
    function = {"functionId": "lands", "name": "lands", "runtime": "node-22", "entrypoint": "src/main.js"}
    client.call("POST", "/functions", json=function)
    link = {"installationId": installation["$id"], "providerRepositoryId": "team/app", "providerBranch": "main"}
    client.call("PUT", "/functions/lands", json={"name": "lands", "providerRootDirectory": "fn", **link})
    template = {"owner": "appwrite", "repository": "templates", "rootDirectory": "node/starter"}

    made = client.call(
        "POST",
        "/functions/lands/deployments/template",
        json={**template, "type": "tag", "reference": "1.*", "activate": True},
    )
    ready = client.ready("lands", made["$id"])

    assert ready["providerCommitHash"] == repository.repo.refs[b"refs/heads/main"].decode()
    assert ready["providerCommitMessage"] == "Add node/starter 1.1.0"
    assert client.execute("lands", method="GET", path="/ping")["responseBody"] == "Pong"


def test_internal_host_is_refused_unless_it_is_allowed(client: Client) -> None:
    made = client.call(
        "POST",
        "/vcs/installations",
        json={"installationId": "unique()", "provider": "git", "url": "https://10.255.255.1"},
    )
    link = {"installationId": made["$id"], "providerRepositoryId": "team/app", "providerBranch": "main"}
    client.call("POST", "/functions", json={"functionId": "linked", "name": "l", "runtime": "node-22", **link})

    [first] = client.call("GET", "/functions/linked/deployments")["deployments"]
    ended = client.built("linked", first["$id"])

    assert (ended["status"], ended["type"]) == ("failed", "vcs")
    assert "ANNALS_GIT_ALLOWED_HOSTS" in ended["buildLogs"]
    assert client.call("GET", "/functions/linked")["deploymentId"] == ""
