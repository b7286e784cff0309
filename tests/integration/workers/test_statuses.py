"""Commit statuses: a build's host gets its states, except for silently connected functions."""

import msgspec
import pytest

from annals.domain.commands.deployments import request_deployment
from annals.domain.deployment import Deployment
from annals.domain.origin import Origin, Remote
from annals.domain.ports import BuildOutcome
from annals.domain.project import Installation, Project
from annals.vcs.locating import Credentials
from tests.integration.vcs.hosts import GitHub, Repository
from tests.integration.workers.world import META, PROJECT, World


async def connect(world: World, api: str, pem: str) -> None:
    text = msgspec.json.encode(Credentials(private_key=pem)).decode()
    installation = Installation(
        installation_id="i",
        provider="github",
        organization="",
        url=api,
        app_id="7",
        provider_installation_id="9",
        sealed=await world.vault.seal(PROJECT, Project.stream(PROJECT), "i", text),
    )
    await world.log.run(Project.add_installation, Project.key(PROJECT), meta=META, installation=installation)


@pytest.mark.parametrize(
    ("silent", "ready", "states"),
    [(False, True, ["pending", "success"]), (False, False, ["pending", "failure"]), (True, True, [])],
)
async def test_commit_status_shows_the_state_of_its_build(
    world: World, tmp_path_factory: pytest.TempPathFactory, *, silent: bool, ready: bool, states: list[str]
) -> None:
    repository = Repository(tmp_path_factory.mktemp("git") / "app")
    commit = repository.commit({"index.js": "1"})
    github = GitHub(repository)
    if not ready:
        world.executor.build_outcome = BuildOutcome(reason="command_failed", message="No.")
    with github.serving() as api:
        await connect(world, api, github.pem)
        remote = Remote(
            installation_id="i", repository_id="42", reference_type="branch", reference="main", silent=silent
        )
        await world.log.run(
            request_deployment,
            Deployment.absent(PROJECT, "d"),
            meta=META,
            remote=remote,
            origin=Origin(branch="main"),
            project_id=PROJECT,
            function_id="f",
            function_incarnation=await world.function(),
            deployment_id="d",
            type="vcs",
            entrypoint="index.js",
            commands="",
            activate=True,
        )
        statuses = world.statuses()
        await world.builds(await world.process_lease(), statuses).run(Deployment.stream(PROJECT, "d"))
        await statuses.reported()

    assert (await world.deployed())["status"] == ("ready" if ready else "failed")
    assert (await world.deployed())["provider_repository_owner"] == "team"
    assert github.statuses == [(commit, state) for state in states]
