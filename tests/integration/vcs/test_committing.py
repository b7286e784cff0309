"""A template is committed to a connected repository before its deployment; a commit's host gets its status."""

import io
import tarfile
from pathlib import Path

import pytest

from annals.domain.origin import Origin, ReferenceType
from annals.vcs.client import FetchRequest, Repositories
from annals.vcs.commits import Files
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bundled, FetchBounds, Folder, Git, GitHub, Location, Report
from tests.integration.vcs.hosts import GitHub as GitHubHost
from tests.integration.vcs.hosts import Repository, http_host

REPOSITORIES = Repositories(allowed_hosts=("127.0.0.1",), bounds=FetchBounds(seconds=90))
STARTER = Folder(location=Bundled(), reference_type="tag", reference="1.*", root_directory="node/starter")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit({"fn/own.txt": "kept", "fn/README.md": "replaced", "other.txt": "1"}, "First")
    return made


async def deployed(
    location: Location, kind: ReferenceType = "branch", root: str = "fn"
) -> tuple[dict[str, str], Origin]:
    wanted = FetchRequest(
        location=location, reference_type=kind, reference="main", root_directory=root, known=Origin(), template=STARTER
    )
    async with REPOSITORIES.fetch(wanted) as (archive, origin):
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
            return {m.name: tar.extractfile(m).read().decode() for m in tar}, origin  # type: ignore[union-attr]


def history(repository: Repository) -> list[str]:
    return [entry.commit.message.decode().splitlines()[0] for entry in repository.repo.get_walker()]


async def test_template_is_committed_below_the_functions_folder_and_then_deployed(repository: Repository) -> None:
    with http_host({"team/app": repository}) as base:
        files, origin = await deployed(Git(url=f"{base}/team/app"))

    assert set(files) == {"own.txt", "README.md", "package.json", "src/main.js"}
    assert (files["own.txt"], files["README.md"].startswith("# Starter")) == ("kept", True)
    assert history(repository) == ["Add node/starter 1.1.0", "First"]
    assert origin.commit_hash == repository.repo.refs[b"refs/heads/main"].decode()
    assert (origin.branch, origin.commit_author) == ("main", "Annals")
    whole = {e.path for e in Files(repository.repo.object_store, origin.commit_hash, "", "main")}
    assert whole == {"other.txt", *(f"fn/{name}" for name in files)}


async def test_template_that_is_there_already_is_not_committed_again(repository: Repository) -> None:
    with http_host({"team/app": repository}) as base:
        _, first = await deployed(Git(url=f"{base}/team/app"))
        _, second = await deployed(Git(url=f"{base}/team/app"))

    assert first.commit_hash == second.commit_hash
    assert len(history(repository)) == 2


async def test_template_goes_to_a_branch_that_is_there_and_to_folders(repository: Repository) -> None:
    with http_host({"team/app": repository}) as base:
        for kind, root in (("tag", "fn"), ("branch", "other.txt")):
            with pytest.raises(RepositoryError) as refused:
                await deployed(Git(url=f"{base}/team/app"), kind, root)  # type: ignore[arg-type]
            assert refused.value.kind in {"reference", "folder"}
    assert history(repository) == ["First"]


async def test_work_tree_of_an_operators_repository_is_unchanged(repository: Repository) -> None:
    with pytest.raises(RepositoryError, match="work tree"):
        await deployed(Git(url=f"file://{repository.folder}", trusted=True))
    assert history(repository) == ["First"]


async def test_app_commits_with_its_token_and_reports_the_status(repository: Repository) -> None:
    github = GitHubHost(repository)
    with github.serving() as api, http_host({"team/app.git": repository}, password="t0ken") as base:
        github.clone_url = f"{base}/team/app.git"
        location = GitHub(api=api, app_id="7", private_key=github.pem, installation="9", repository="42")
        files, origin = await deployed(location)
        wanted = FetchRequest(location=location, reference_type="branch", reference="main", known=origin)
        report = Report(commit=origin.commit_hash, state="success", description="The deployment is ready.")
        await REPOSITORIES.report(wanted, report, seconds=90)

    assert "src/main.js" in files
    assert origin.commit_url == f"https://github.test/team/app/commit/{origin.commit_hash}"
    assert github.statuses == [(origin.commit_hash, "success")]
    assert history(repository)[0] == "Add node/starter 1.1.0"
