"""Fetches in the real fetching process: every kind of host, every kind of reference, every bound."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from annals.domain.origin import Origin, ReferenceType
from annals.vcs.client import FetchRequest, Repositories
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bundled, FetchBounds, Git, GitHub, Location
from tests.integration.vcs.hosts import GitHub as GitHubHost
from tests.integration.vcs.hosts import Repository, http_host, ssh_host

BOUNDS = FetchBounds(seconds=90)


class Scene:
    """A repository with two branches, two version tags, and a commit without a reference."""

    def __init__(self, folder: Path) -> None:
        self.repository = Repository(folder)
        self.first = self.repository.commit({"fn/index.js": "1", "other/x": "1"}, "First\n\nMore")
        self.repository.tag("1.0.0", self.first)
        self.second = self.repository.commit({"fn/index.js": "2"}, "Second")
        self.repository.tag("1.1.0", self.second, annotated=True)
        self.side = self.repository.commit({"fn/index.js": "side"}, "Side", branch="side")
        self.last = self.repository.commit({"fn/index.js": "3"}, "Third")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "repository")


@pytest.fixture
def url(scene: Scene) -> Iterator[str]:
    with http_host({"team/app": scene.repository}) as base:
        yield f"{base}/team/app"


async def fetch(
    location: Location,
    kind: ReferenceType = "branch",
    reference: str = "main",
    root: str = "fn",
    *,
    hosts: tuple[str, ...] = ("127.0.0.1",),
    bounds: FetchBounds = BOUNDS,
) -> tuple[dict[str, str], Origin]:
    """Return the archive's files, and the origin."""
    wanted = FetchRequest(
        location=location, reference_type=kind, reference=reference, root_directory=root, known=Origin()
    )
    async with Repositories(allowed_hosts=hosts, bounds=bounds).fetch(wanted) as (archive, origin):
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
            files = {m.name: tar.extractfile(m).read().decode() for m in tar}  # type: ignore[union-attr]
    return files, origin


async def error(location: Location, *wanted: str, **given: object) -> RepositoryError:
    with pytest.raises(RepositoryError) as refused:
        await fetch(location, *wanted, **given)  # type: ignore[arg-type]
    return refused.value


async def test_branch_is_fetched_with_its_commit_fields(scene: Scene, url: str) -> None:
    files, origin = await fetch(Git(url=url, web_url="https://git.test/team/app"))

    assert files == {"index.js": "3"}
    assert (origin.branch, origin.commit_hash) == ("main", scene.last)
    assert (origin.commit_message, origin.commit_author, origin.root_directory) == ("Third", "Ada", "fn")
    assert origin.commit_url == f"https://git.test/team/app/commit/{scene.last}"


@pytest.mark.parametrize(
    ("kind", "reference", "commit"),
    [
        ("branch", "side", "side"),
        ("tag", "1.0.0", "first"),
        ("tag", "1.1.0", "second"),
        ("tag", "1.*", "second"),
        ("commit", "last", "last"),
        ("commit", "second", "second"),
    ],
)
@pytest.mark.parametrize("over", ["http", "file"])
async def test_every_kind_of_reference_resolves_to_its_commit(
    scene: Scene, url: str, over: str, *, kind: ReferenceType, reference: str, commit: str
) -> None:
    location = Git(url=url) if over == "http" else Git(url=f"file://{scene.repository.folder}", trusted=True)
    sha = getattr(scene, commit)

    files, origin = await fetch(location, kind, getattr(scene, reference, reference) if kind == "commit" else reference)

    assert origin.commit_hash == sha
    assert (
        origin.branch == {"branch": reference, "commit": sha, "tag": "1.1.0" if commit == "second" else "1.0.0"}[kind]
    )
    assert set(files) == {"index.js"}


async def test_unreferenced_commit_is_found_by_prefix(scene: Scene, url: str) -> None:
    middle = scene.repository.commit({"fn/index.js": "4"}, "Middle")
    scene.repository.commit({"fn/index.js": "5"}, "Newest")

    files, origin = await fetch(Git(url=url), "commit", middle[:9])

    assert (files, origin.commit_hash) == ({"index.js": "4"}, middle)


@pytest.mark.parametrize(
    ("kind", "reference", "root", "why"),
    [
        ("branch", "none", "fn", "reference"),
        ("tag", "9.*", "fn", "reference"),
        ("commit", "f" * 40, "fn", "reference"),
        ("commit", "--output=x", "fn", "reference"),
        ("branch", "main", "none", "folder"),
        ("branch", "main", "fn/../other", "folder"),
    ],
)
async def test_unknown_reference_or_folder_is_an_error(
    url: str, kind: str, reference: str, root: str, why: str
) -> None:
    assert (await error(Git(url=url), kind, reference, root)).kind == why


async def test_host_with_password_rejects_a_wrong_password(scene: Scene) -> None:
    with http_host({"team/app": scene.repository}, password="right") as base:
        _, origin = await fetch(Git(url=f"{base}/team/app", password="right"))
        assert origin.commit_hash == scene.last
        wrong = await error(Git(url=f"{base}/team/app", username="u", password="wrong"))
        assert wrong.kind == "forbidden"
        assert "wrong" not in wrong.sentence


async def test_git_over_ssh_needs_known_host_and_matching_key(scene: Scene) -> None:
    key, other = paramiko.RSAKey.generate(2048), paramiko.RSAKey.generate(2048)
    text, wrong = io.StringIO(), io.StringIO()
    key.write_private_key(text)
    other.write_private_key(wrong)
    with ssh_host({"team/app": scene.repository}, key) as (base, line):
        location = Git(url=f"{base}/team/app", private_key=text.getvalue(), known_hosts=line)
        files, origin = await fetch(location)
        assert (set(files), origin.commit_hash) == ({"index.js"}, scene.last)
        for changed in (
            Git(url=location.url, private_key=location.private_key),
            Git(url=location.url, private_key=wrong.getvalue(), known_hosts=line),
            Git(
                url=location.url,
                private_key=location.private_key,
                known_hosts=line.rsplit(" ", 1)[0] + f" {other.get_base64()}",
            ),
        ):
            assert (await error(changed)).kind in {"unreachable", "forbidden"}


async def test_app_fetches_with_its_installation_token(scene: Scene) -> None:
    github = GitHubHost(scene.repository)
    with github.serving() as api:
        location = GitHub(api=api, app_id="7", private_key=github.pem, installation="9", repository="42")
        files, origin = await fetch(location)
        _, tagged = await fetch(location, "tag", "1.0.*")
        wrong_key = await error(GitHub(api=api, app_id="7", private_key="x", installation="9", repository="42"))
        no_installation = await error(
            GitHub(api=api, app_id="7", private_key=github.pem, installation="8", repository="42")
        )
        gone = await error(GitHub(api=api, app_id="7", private_key=github.pem, installation="9", repository="43"))
        no_branch = await error(location, "branch", "none")

    assert set(files) == {"index.js"}
    assert (origin.repository_owner, origin.repository_name, origin.repository_id) == ("team", "app", "42")
    assert origin.commit_hash == scene.last
    assert origin.commit_url == f"https://github.test/team/app/commit/{scene.last}"
    assert origin.commit_author_url == "https://github.test/ada"
    assert origin.branch_url == "https://github.test/team/app/tree/main"
    assert (tagged.commit_hash, tagged.branch) == (scene.first, "1.0.0")
    kinds = [wrong_key.kind, no_installation.kind, gone.kind, no_branch.kind]
    assert kinds == ["forbidden", "forbidden", "repository", "reference"]


async def test_internal_hosts_are_refused_unless_they_are_allowed(scene: Scene, url: str) -> None:
    for hosts in ((), ("git.example.org",)):
        assert (await error(Git(url=url), hosts=hosts)).kind == "forbidden"
    https = url.replace("http:", "https:")
    failure = await error(Git(url=https), hosts=())
    assert (failure.kind, "ANNALS_GIT_ALLOWED_HOSTS" in failure.sentence) == ("forbidden", True)
    ssh = await error(Git(url="ssh://git@127.0.0.1:9/a", known_hosts="[127.0.0.1]:9 ssh-rsa AAAA"), hosts=())
    assert ssh.kind in {"forbidden", "unreachable"}
    trusted, _ = await fetch(Git(url=url, trusted=True), hosts=())
    assert set(trusted) == {"index.js"}


async def test_local_folder_needs_a_trusted_url(scene: Scene) -> None:
    assert (await error(Git(url=f"file://{scene.repository.folder}"))).kind == "forbidden"
    assert (await error(Git(url="file:///nowhere", trusted=True))).kind == "repository"
    assert (await error(Git(url="ext::sh -c id", trusted=True))).kind == "forbidden"


async def test_fetch_stops_at_size_and_time_bounds(scene: Scene, url: str) -> None:
    assert (await error(Git(url=url), bounds=FetchBounds(seconds=90, transfer_bytes=50))).kind == "too_large"
    assert (await error(Bundled(), root="node", bounds=FetchBounds(seconds=90, archive_bytes=200))).kind == "too_large"
    late = await error(Git(url=url), bounds=FetchBounds(seconds=0.01))
    assert (late.kind, "0.01 seconds" in late.sentence) == ("unreachable", True)


async def test_unreachable_host_is_an_error(scene: Scene) -> None:
    failure = await error(Git(url="http://127.0.0.1:9/team/app"))
    assert failure.kind == "unreachable"
    with http_host({"team/app": scene.repository}) as base:
        assert (await error(Git(url=f"{base}/team/none"))).kind == "repository"


async def test_commit_message_with_nul_can_be_stored(scene: Scene, url: str) -> None:
    scene.repository.commit({"fn/index.js": "4"}, "A\0B")

    _, origin = await fetch(Git(url=url))

    assert origin.commit_message == "A\ufffdB"
