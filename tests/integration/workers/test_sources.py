"""Sources in repositories: the claim's holder fetches them once, and a failure is recorded with its reason."""

from pathlib import Path
from typing import Any

import pytest

from annals.domain.commands.deployments import cancel_build, request_deployment
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict
from annals.domain.origin import Origin, Remote
from annals.domain.ports import Artefact
from annals.vcs.client import Repositories
from annals.vcs.jobs import FetchBounds
from annals.vcs.locating import Locator
from annals.workers.sources import SourceFetcher
from tests.integration.vcs.hosts import Repository
from tests.integration.workers.world import META, PROJECT, World

STARTER = Remote(
    owner="appwrite", name="templates", reference_type="tag", reference="1.*", root_directory="node/starter"
)
KEY = Deployment.key(PROJECT, "d")


async def requested(world: World, remote: Remote = STARTER, origin: Origin | None = None) -> str:
    """Request a deployment whose source is fetched, and return its stream."""
    recorded_events: dict[str, Any] = {
        "project_id": PROJECT,
        "function_id": "f",
        "function_incarnation": world.incarnations.get("f") or await world.function(),
        "deployment_id": "d",
        "type": "vcs",
        "entrypoint": "src/main.js",
        "commands": "npm install",
        "activate": True,
        "origin": origin or Origin(repository_owner=remote.owner, repository_name=remote.name, branch=remote.reference),
    }
    await world.log.run(
        request_deployment, Deployment.absent(PROJECT, "d"), meta=META, remote=remote, **recorded_events
    )
    return Deployment.stream(PROJECT, "d")


def sources(world: World) -> SourceFetcher:
    return SourceFetcher(
        world.log,
        blobs=world.contents.blobs,
        locator=Locator(world.log, world.vault, world.remotes),
        repositories=Repositories(allowed_hosts=(), bounds=FetchBounds(seconds=30)),
    )


async def test_template_is_fetched_built_and_activated(world: World) -> None:
    stream = await requested(world)
    before = await world.deployed()
    assert (before["status"], before["source_size"], before["provider_branch"]) == ("waiting", 0, "1.*")

    await world.builds(await world.process_lease()).run(stream)

    row = await world.deployed()
    [job] = world.executor.builds
    assert (row["status"], row["source_key"]) == ("ready", job.source.key)
    assert row["source_size"] == job.source.size == (await world.contents.blobs.head(job.source.key)).size > 0
    assert (row["provider_branch"], row["provider_repository_name"]) == ("1.1.0", "templates")
    assert row["provider_root_directory"] == "node/starter"
    assert len(row["provider_commit_hash"]) == 40
    assert row["provider_commit_author"] == "Annals"
    assert job.environment["APPWRITE_VCS_ROOT_DIRECTORY"] == "node/starter"
    assert job.environment["APPWRITE_VCS_COMMIT_HASH"] == row["provider_commit_hash"]
    assert await world.topics(stream) == [
        "deployment.upload_started",
        "deployment.build_queued",
        "deployment.build_claimed",
        "deployment.source_fetched",
        "deployment.build_started",
        "deployment.build_succeeded",
    ]


async def test_unavailable_source_fails_the_deployment_with_the_reason_in_its_log(world: World) -> None:
    world.remotes["a/b"] = "file:///nowhere"
    stream = await requested(world, Remote(owner="a", name="b", reference_type="branch", reference="main"))

    await world.builds(await world.process_lease()).run(stream)

    row = await world.deployed()
    assert (row["status"], row["reason"], row["source_size"]) == ("failed", "source_unavailable", 0)
    assert (await world.kept(stream, "build")).splitlines()[-1].endswith("holds no git repository.")
    assert world.executor.builds == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reference": "9.*"}, "no tag '9.*'"),
        ({"root_directory": "node/none"}, "no folder 'node/none' at '1.1.0'"),
        ({"owner": "", "name": "", "installation_id": "gone", "repository_id": "a/b"}, "installation"),
    ],
)
async def test_each_reason_is_a_sentence(world: World, change: dict[str, str], sentence: str) -> None:
    stream = await requested(world, Remote(**{**{f: getattr(STARTER, f) for f in STARTER.__struct_fields__}, **change}))

    await world.builds(await world.process_lease()).run(stream)

    assert (await world.deployed())["status"] == "failed"
    assert sentence in await world.kept(stream, "build")


async def test_repeated_build_keeps_its_fetched_source(world: World) -> None:
    stream = await requested(world)
    world.executor.lost = True
    await world.builds(await world.process_lease()).run(stream)
    fetched = (await world.deployed())["source_key"]
    assert fetched
    world.executor.lost = False

    await world.builds(await world.process_lease()).run(stream)

    [job] = world.executor.builds
    assert (job.source.key, job.epoch) == (fetched, 2)
    assert (await world.topics(stream)).count("deployment.source_fetched") == 1


async def test_source_fetched_after_the_cancel_is_dropped(world: World) -> None:
    stream = await requested(world)
    deployment = await world.log.load(KEY)
    deployment.claim_build("w")
    await world.log.record([deployment], meta=META)
    await world.log.run(cancel_build, KEY, meta=META, function_id="f", seconds=0)

    with pytest.raises(Conflict):
        await sources(world).bring(deployment, META)

    assert (await world.deployed())["source_key"] == ""
    assert [info async for info in world.contents.blobs.list("sources")] == []
    assert "deployment.source_fetched" not in await world.topics(stream)


async def test_repeated_record_of_a_source_is_one_event(world: World) -> None:
    stream = await requested(world)
    deployment = await world.log.load(KEY)
    deployment.claim_build("w")
    await world.log.record([deployment], meta=META)
    recorded_events: dict[str, Any] = {"epoch": 1, "source": Artefact(key="k", digest="d", size=1), "origin": Origin()}
    for _ in range(2):
        await world.log.run(Deployment.store_fetched, KEY, meta=META, **recorded_events)

    assert (await world.topics(stream)).count("deployment.source_fetched") == 1


async def test_repeated_request_is_one_deployment(world: World) -> None:
    stream = await requested(world)
    await requested(world)

    assert await world.topics(stream) == ["deployment.upload_started", "deployment.build_queued"]


async def test_operators_repository_is_fetched_from_disk(world: World, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    commit = repository.commit({"fn/index.js": "1"}, "First")
    world.remotes["team/app"] = f"file://{repository.folder}"
    remote = Remote(owner="team", name="app", reference_type="branch", reference="main", root_directory="fn")

    await world.builds(await world.process_lease()).run(await requested(world, remote))

    row = await world.deployed()
    assert (row["status"], row["provider_commit_hash"], row["provider_commit_message"]) == ("ready", commit, "First")
