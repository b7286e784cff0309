"""Deployments from templates, and from the repositories that functions are connected to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from annals.app.services import Services
from annals.domain.deployment import Deployment
from annals.settings import Settings
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.given import deployments, installation, link
from tests.integration.vcs.hosts import GitHub, Repository, http_host

TEMPLATE = {
    "repository": "templates",
    "owner": "appwrite",
    "rootDirectory": "node/starter",
    "type": "tag",
    "reference": "1.0.1",
}


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path, database_url=database_url, functions_create_quota=0, git_allowed_hosts=("127.0.0.1",)
    )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit({"index.js": "1"}, "First\n\n" + "x" * 400)
    return made


@pytest.fixture
def host(repository: Repository) -> Iterator[str]:
    with http_host({"team/app": repository}) as url:
        yield url


async def test_template_deployment_waits_to_be_fetched(key: Client) -> None:
    function_id = await given.function(key)

    reply = await key.post(f"/v1/functions/{function_id}/deployments/template", **TEMPLATE, activate=True)

    assert reply.status == 202, reply.body
    made = reply.json
    assert (made["type"], made["status"], made["activate"]) == ("vcs", "waiting", True)
    assert (made["sourceSize"], made["totalSize"], made["buildSize"]) == (0, 0, 0)
    assert (made["providerRepositoryOwner"], made["providerRepositoryName"]) == ("appwrite", "templates")
    assert made["providerRepositoryUrl"] == "https://github.com/appwrite/templates"
    assert made["providerBranch"] == "1.0.1"
    assert made["providerBranchUrl"] == "https://github.com/appwrite/templates/blob/1.0.1"
    assert (await key.get(f"/v1/functions/{function_id}/deployments/{made['$id']}")).json == made


async def test_template_may_be_named_by_its_version_in_old_versions(plain: Client) -> None:
    function_id = await given.function(plain)
    path = f"/v1/functions/{function_id}/deployments/template"
    sent = {name: value for name, value in TEMPLATE.items() if name not in {"type", "reference"}}

    reply = await plain.post(path, **sent, version="1.0.*")
    newest = await plain.with_(x_appwrite_response_format="2.0.0").post(path, **sent, version="1.0.*")

    assert (reply.status, reply.json["providerBranch"]) == (202, "1.0.*")
    assert newest.error == (400, "general_argument_invalid")


@pytest.mark.behaviours(89)
async def test_template_needs_a_reference_of_a_known_type(key: Client) -> None:
    path = f"/v1/functions/{await given.function(key)}/deployments/template"

    missing = await key.post(path, **{name: value for name, value in TEMPLATE.items() if name != "reference"})
    wrong = await key.post(path, **{**TEMPLATE, "type": "nope"})
    loose = await key.post(path, **{**TEMPLATE, "type": "TAG"})
    text = await key.post(path, **TEMPLATE, activate="true")
    long = await key.post(path, **{**TEMPLATE, "reference": "x" * 129})

    assert missing.error == (400, "general_argument_invalid")
    assert missing.message == 'Param "reference" is not optional.'
    assert wrong.error == (400, "general_argument_invalid")
    assert loose.status == 202
    assert text.error == long.error == (400, "general_argument_invalid")


async def test_template_of_an_unknown_function_is_404_and_needs_the_scope(key: Client) -> None:
    gone = await key.post("/v1/functions/none/deployments/template", **TEMPLATE)
    reader = await key.with_(x_appwrite_key="p1-read").post("/v1/functions/none/deployments/template", **TEMPLATE)

    assert gone.error == (404, "function_not_found")
    assert reader.error == (401, "general_unauthorized_scope")


async def test_duplicate_requests_a_missing_source_again(plain: Client, services: Services) -> None:
    function_id = await given.function(plain)
    first = await plain.post(f"/v1/functions/{function_id}/deployments/template", **TEMPLATE)

    again = await plain.post(f"/v1/functions/{function_id}/deployments/duplicate", deploymentId=first.json["$id"])

    assert (again.status, again.json["status"], again.json["type"]) == (202, "waiting", "vcs")
    former, later = [await services.log.load(Deployment.key("p1", r.json["$id"])) for r in (first, again)]
    assert later.remote == former.remote


@pytest.mark.behaviours(88)
async def test_function_without_a_repository_has_none_to_deploy(key: Client) -> None:
    function_id = await given.function(key)

    reply = await key.post(f"/v1/functions/{function_id}/deployments/vcs", type="branch", reference="main")
    wrong = await key.post(f"/v1/functions/{function_id}/deployments/vcs", type="tag", reference="1")

    assert reply.error == (404, "installation_not_found")
    assert wrong.error == (400, "general_argument_invalid")


@pytest.mark.behaviours(33, 34)
async def test_incomplete_repository_link_is_refused(key: Client) -> None:
    installation_id = await installation(key)
    fields = {"functionId": "unique()", "name": "fn", "runtime": "node-22"}

    alone = await key.post("/v1/functions", **fields, providerRepositoryId="team/app")
    no_branch = await key.post("/v1/functions", **fields, **link(installation_id, providerBranch=""))
    unknown = await key.post("/v1/functions", **fields, installationId="nope")
    foreign = await key.with_(x_appwrite_project="p2", x_appwrite_key="p2-all").post(
        "/v1/functions", **fields, installationId=installation_id
    )

    assert alone.error == no_branch.error == (400, "general_argument_invalid")
    assert unknown.error == foreign.error == (404, "installation_not_found")


async def test_first_connection_to_a_repository_builds(key: Client) -> None:
    installation_id = await installation(key)
    created = await given.function(key, **link(installation_id, providerRootDirectory="fn"))
    function_id = await given.function(key)
    path = f"/v1/functions/{function_id}"

    connected = await key.put(path, name="fn", **link(installation_id))
    again = await key.put(path, name="fn2", **link(installation_id, "team/other"))
    unknown = await key.put(path, name="fn", **link("nope"))
    anonymous = await key.put("/v1/functions/none", name="fn", **link("nope"))

    for function in (created, function_id):
        [row] = await deployments(key, function)
        assert (row["type"], row["status"], row["activate"]) == ("vcs", "waiting", True)
        assert (row["providerBranch"], row["providerRepositoryName"]) == ("main", "app")
    assert connected.json["providerRepositoryId"] == "team/app"
    assert again.json["providerRepositoryId"] == "team/other"
    assert unknown.error == (404, "installation_not_found")
    assert anonymous.error == (404, "function_not_found")


async def test_template_of_a_connected_function_goes_to_its_repository_first(plain: Client, services: Services) -> None:
    fields = link(await installation(plain), providerRootDirectory="fn", providerSilentMode=True)
    function_id = await given.function(plain, **fields)

    made = await plain.post(f"/v1/functions/{function_id}/deployments/template", **TEMPLATE)

    assert (made.status, made.json["providerRepositoryName"], made.json["providerBranch"]) == (202, "app", "main")
    remote = (await services.log.load(Deployment.key("p1", made.json["$id"]))).remote
    assert (remote.repository_id, remote.reference, remote.root_directory, remote.silent) == (
        *("team/app", "main", "fn"),
        True,
    )
    assert (remote.template.owner, remote.template.reference) == ("appwrite", "1.0.1")


async def test_idempotency_key_requests_one_deployment(plain: Client) -> None:
    function_id = await given.function(plain)
    client = plain.with_(idempotency_key="once")

    first = await client.post(f"/v1/functions/{function_id}/deployments/template", **TEMPLATE)
    second = await client.post(f"/v1/functions/{function_id}/deployments/template", **TEMPLATE)

    assert first.json == second.json
    assert len(await deployments(plain, function_id)) == 1


async def test_repository_link_stays_until_it_is_removed(plain: Client) -> None:
    installation_id = await installation(plain)
    function_id = await given.function(plain, **link(installation_id, providerRootDirectory="fn"))
    path = f"/v1/functions/{function_id}"

    kept = (await plain.put(path, name="fn")).json
    assert [kept[name] for name in ("installationId", "providerRepositoryId", "providerBranch")] == [
        installation_id,
        "team/app",
        "main",
    ]
    assert kept["providerRootDirectory"] == "fn"
    gone = (await plain.put(path, name="fn", providerRepositoryId="")).json
    names = ("installationId", "providerRepositoryId", "providerBranch", "providerRootDirectory")
    assert [gone[name] for name in names] == ["", "", "", ""]
    assert gone["providerSilentMode"] is True
    await plain.put(path, name="fn", **link(installation_id))
    assert len(await deployments(plain, function_id)) == 2


async def test_branch_or_commit_is_deployed_with_the_hosts_metadata(
    key: Client, repository: Repository, host: str
) -> None:
    function_id = await given.function(key, **link(await installation(key, host)))
    path = f"/v1/functions/{function_id}/deployments/vcs"
    commit = repository.repo.refs[b"refs/heads/main"].decode()

    branch = await key.post(path, type="branch", reference="main", activate=True)
    by_commit = await key.post(path, type="commit", reference=commit[:10])
    elsewhere = await key.post(path, type="branch", reference="none")

    assert branch.status == 202, branch.body
    assert (branch.json["type"], branch.json["status"], branch.json["activate"]) == ("vcs", "waiting", True)
    assert (branch.json["providerBranch"], branch.json["providerCommitHash"]) == ("main", commit)
    assert branch.json["providerCommitAuthor"] == "Ada"
    assert len(branch.json["providerCommitMessage"]) == 255
    assert branch.json["providerCommitUrl"] == f"{host}/team/app/commit/{commit}"
    assert (by_commit.json["providerCommitHash"], by_commit.json["providerBranch"]) == (commit, "main")
    assert (elsewhere.status, elsewhere.json["providerCommitHash"]) == (202, "")


async def test_deleted_repository_is_404_and_unreachable_host_is_not(plain: Client, host: str) -> None:
    installation_id = await installation(plain, host)
    missing = await given.function(plain, **link(installation_id, "team/none"))
    away = await given.function(plain, **link(await installation(plain, "http://127.0.0.1:9")))

    gone = await plain.post(f"/v1/functions/{missing}/deployments/vcs", type="branch", reference="main")
    later = await plain.post(f"/v1/functions/{away}/deployments/vcs", type="branch", reference="main")

    assert gone.error == (404, "provider_repository_not_found")
    assert (later.status, later.json["providerCommitHash"], later.json["providerBranch"]) == (202, "", "main")
    await plain.delete(f"/v1/vcs/installations/{installation_id}")
    removed = await plain.post(f"/v1/functions/{missing}/deployments/vcs", type="branch", reference="main")
    assert removed.error == (404, "installation_not_found")


async def test_commit_of_an_app_has_its_metadata(plain: Client, repository: Repository) -> None:
    github = GitHub(repository)
    with github.serving() as api:
        installation_id = await installation(
            plain, api, provider="github", appId="7", privateKey=github.pem, providerInstallationId="9"
        )
        function_id = await given.function(plain, **link(installation_id, "42"))
        reply = await plain.post(f"/v1/functions/{function_id}/deployments/vcs", type="branch", reference="main")

    assert reply.status == 202, reply.body
    assert (reply.json["providerRepositoryOwner"], reply.json["providerRepositoryName"]) == ("team", "app")
    assert reply.json["providerRepositoryUrl"] == "https://github.test/team/app"
    assert reply.json["providerCommitAuthorUrl"] == "https://github.test/ada"
