"""The location of a repository: bundled, configured, public, or below an installation's host."""

import pytest

from annals.domain.origin import Remote
from annals.domain.project import Installation, Provider
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bundled, Git, GitHub
from annals.vcs.locating import Credentials, of_installation, of_template, template_origin

SECRETS = Credentials(username="u", password="p", private_key="k", known_hosts="h", webhook_secret="w")


def _installation(provider: Provider = "git", url: str = "https://git.example.org/base/") -> Installation:
    return Installation(
        installation_id="i",
        provider=provider,
        organization="",
        url=url,
        app_id="7",
        provider_installation_id="9",
        sealed="",
    )


def test_catalogue_repository_is_bundled_unless_configured() -> None:
    assert of_template("appwrite", "templates", {}).location == Bundled()
    configured = of_template("appwrite", "templates", {"appwrite/templates": "https://git.internal/t.git"})
    assert configured.location == Git(url="https://git.internal/t.git", web_url="https://git.internal/t", trusted=True)
    assert configured.known.repository_url == "https://git.internal/t"


def test_other_repositories_are_configured_or_public() -> None:
    public = of_template("a", "b", {})
    assert public.location == Git(url="https://github.com/a/b.git", web_url="https://github.com/a/b")
    local = of_template("a", "b", {"a/b": "file:///srv/b"})
    assert local.location == Git(url="file:///srv/b", trusted=True)
    assert local.known.repository_url == "https://github.com/a/b", "a path of this machine is not shown"
    for owner, name in (("", "b"), ("a", ""), ("..", "b"), ("-a", "b"), ("a@b", "c"), ("a", "b c")):
        with pytest.raises(RepositoryError):
            of_template(owner, name, {})


def test_template_has_an_origin_before_its_fetch() -> None:
    remote = Remote(owner="a", name="b", reference_type="tag", reference="1.*", root_directory="node/x")

    origin = template_origin(remote, {})

    assert (origin.repository_owner, origin.repository_name, origin.branch) == ("a", "b", "1.*")
    assert origin.branch_url == "https://github.com/a/b/blob/1.%2A"


def test_installation_repository_is_below_its_host() -> None:
    found = of_installation(_installation(), SECRETS, "team/app", {})
    assert found.location == Git(
        url="https://git.example.org/base/team/app",
        web_url="https://git.example.org/base/team/app",
        username="u",
        password="p",
        private_key="k",
        known_hosts="h",
    )
    app = of_installation(_installation("github", "https://api.github.com"), SECRETS, "42", {})
    assert app.location == GitHub(
        api="https://api.github.com", app_id="7", private_key="k", installation="9", repository="42"
    )


def test_installation_without_url_reaches_configured_remotes_only() -> None:
    found = of_installation(_installation(url=""), SECRETS, "team/app", {"team/app": "file:///srv/app"})
    assert found.location == Git(url="file:///srv/app", trusted=True)
    with pytest.raises(RepositoryError, match="ANNALS_GIT_REMOTES"):
        of_installation(_installation(url=""), SECRETS, "team/other", {})


@pytest.mark.parametrize("repository", ["", "../other", "a/../b", "-x", "a?b", "a b"])
def test_repository_path_cannot_leave_its_host(repository: str) -> None:
    with pytest.raises(RepositoryError):
        of_installation(_installation(), SECRETS, repository, {})
