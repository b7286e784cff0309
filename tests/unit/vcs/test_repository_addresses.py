"""Where a repository lies: bundled, configured, public, or below an installation's host."""

import pytest

from annals.domain.installation import Installation, Provider
from annals.domain.origin import Remote
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bundled, Git, GitHub
from annals.vcs.repository_addresses import Credentials, of_installation, of_template, template_origin

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


def test_the_catalogues_repository_is_the_bundled_one_unless_it_is_configured() -> None:
    assert of_template("appwrite", "templates", {}).place == Bundled()
    configured = of_template("appwrite", "templates", {"appwrite/templates": "https://git.internal/t.git"})
    assert configured.place == Git(url="https://git.internal/t.git", web_url="https://git.internal/t", trusted=True)
    assert configured.known.repository_url == "https://git.internal/t"


def test_others_are_where_they_are_configured_or_public() -> None:
    public = of_template("a", "b", {})
    assert public.place == Git(url="https://github.com/a/b.git", web_url="https://github.com/a/b")
    local = of_template("a", "b", {"a/b": "file:///srv/b"})
    assert local.place == Git(url="file:///srv/b", trusted=True)
    assert local.known.repository_url == "https://github.com/a/b", "a path of this machine is nobody's business"
    for owner, name in (("", "b"), ("a", ""), ("..", "b"), ("-a", "b"), ("a@b", "c"), ("a", "b c")):
        with pytest.raises(RepositoryError):
            of_template(owner, name, {})


def test_a_template_has_an_origin_before_it_is_asked() -> None:
    remote = Remote(owner="a", name="b", reference_type="tag", reference="1.*", root_directory="node/x")

    origin = template_origin(remote, {})

    assert (origin.repository_owner, origin.repository_name, origin.branch) == ("a", "b", "1.*")
    assert origin.branch_url == "https://github.com/a/b/blob/1.%2A"


def test_an_installations_repository_lies_below_its_host() -> None:
    found = of_installation(_installation(), SECRETS, "team/app", {})
    assert found.place == Git(
        url="https://git.example.org/base/team/app",
        web_url="https://git.example.org/base/team/app",
        username="u",
        password="p",
        private_key="k",
        known_hosts="h",
    )
    app = of_installation(_installation("github", "https://api.github.com"), SECRETS, "42", {})
    assert app.place == GitHub(
        api="https://api.github.com", app_id="7", private_key="k", installation="9", repository="42"
    )


def test_an_installation_without_a_host_reaches_what_the_operator_names() -> None:
    found = of_installation(_installation(url=""), SECRETS, "team/app", {"team/app": "file:///srv/app"})
    assert found.place == Git(url="file:///srv/app", trusted=True)
    with pytest.raises(RepositoryError, match="ANNALS_GIT_REMOTES"):
        of_installation(_installation(url=""), SECRETS, "team/other", {})


@pytest.mark.parametrize("repository", ["", "../other", "a/../b", "-x", "a?b", "a b"])
def test_a_repository_cannot_climb_out_of_its_host(repository: str) -> None:
    with pytest.raises(RepositoryError):
        of_installation(_installation(), SECRETS, repository, {})
