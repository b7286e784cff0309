"""References to commits: branches and tags by name, ranges by version order, commits by prefix."""

import pytest

from annals.vcs.errors import RepositoryError
from annals.vcs.references import ResolvedReference, highest_version, resolve

TAGS = {name: f"{number:040x}" for number, name in enumerate(["1.2.0", "1.10.0", "1.10.1-rc.1", "v1.9.9", "2.0.0"])}
BRANCHES = {"main": "a" * 40, "next": "ab" + "c" * 38}


@pytest.mark.parametrize(
    ("pattern", "tag"),
    [
        ("1.*", "1.10.1-rc.1"),
        ("1.2.*", "1.2.0"),
        ("1.9.*", "v1.9.9"),
        ("*", "2.0.0"),
        ("*.10.0", "1.10.0"),
        ("3.*", None),
        ("1.1*", "1.10.1-rc.1"),
    ],
)
def test_range_resolves_to_its_highest_version(pattern: str, tag: str | None) -> None:
    assert highest_version(pattern, TAGS) == tag


def test_prerelease_is_lower_than_its_release() -> None:
    versions = ["1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.0.0-alpha", "1.0.0-1", "0.9.12"]

    assert highest_version("1.*", versions[:2]) == "1.0.0-rc.10"
    assert highest_version("1.*", versions) == "1.0.0"
    assert highest_version("*", ["1.0.0-1", "1.0.0-alpha"]) == "1.0.0-alpha"


def test_dot_in_a_range_matches_a_dot_only() -> None:
    assert highest_version("1.*", ["10.0", "1x0"]) is None


def test_branch_and_tag_names_resolve_to_commits() -> None:
    assert resolve("branch", "main", BRANCHES, TAGS) == ResolvedReference("main", "a" * 40)
    assert resolve("tag", "2.0.0", BRANCHES, TAGS) == ResolvedReference("2.0.0", TAGS["2.0.0"])
    assert resolve("tag", "1.2*", BRANCHES, TAGS) == ResolvedReference("1.2.0", TAGS["1.2.0"])


def test_commit_prefix_must_be_unambiguous() -> None:
    assert resolve("commit", "abccccc", BRANCHES, TAGS) == ResolvedReference(BRANCHES["next"], BRANCHES["next"])
    assert resolve("commit", "ABCCCCC", BRANCHES, TAGS) == ResolvedReference(BRANCHES["next"], BRANCHES["next"])
    assert resolve("commit", "f" * 40, BRANCHES, TAGS) is None
    with pytest.raises(RepositoryError, match="Several commits"):
        resolve("commit", "0000000", BRANCHES, TAGS)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("branch", "other"),
        ("branch", "-x"),
        ("tag", "9"),
        ("tag", "9.*"),
        ("commit", "abc"),
        ("commit", "--upload-pack=x"),
    ],
)
def test_unknown_reference_is_an_error(kind: str, reference: str) -> None:
    with pytest.raises(RepositoryError) as refused:
        resolve(kind, reference, BRANCHES, TAGS)  # type: ignore[arg-type]
    assert refused.value.kind == "reference"
