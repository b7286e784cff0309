"""Which commit is meant: branches and tags by name, ranges by the order of versions, commits by their beginning."""

import pytest

from annals.vcs.errors import RepositoryError
from annals.vcs.references import Chosen, choose, highest

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
def test_a_range_is_its_highest_version(pattern: str, tag: str | None) -> None:
    assert highest(pattern, TAGS) == tag


def test_what_comes_before_a_release_is_lower_than_it() -> None:
    versions = ["1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.0.0-alpha", "1.0.0-1", "0.9.12"]

    assert highest("1.*", versions[:2]) == "1.0.0-rc.10"
    assert highest("1.*", versions) == "1.0.0"
    assert highest("*", ["1.0.0-1", "1.0.0-alpha"]) == "1.0.0-alpha"


def test_a_dot_in_a_range_is_a_dot() -> None:
    assert highest("1.*", ["10.0", "1x0"]) is None


def test_names_lead_to_commits() -> None:
    assert choose("branch", "main", BRANCHES, TAGS) == Chosen("main", "a" * 40)
    assert choose("tag", "2.0.0", BRANCHES, TAGS) == Chosen("2.0.0", TAGS["2.0.0"])
    assert choose("tag", "1.2*", BRANCHES, TAGS) == Chosen("1.2.0", TAGS["1.2.0"])


def test_a_commit_may_be_shortened_but_not_ambiguous() -> None:
    assert choose("commit", "abccccc", BRANCHES, TAGS) == Chosen(BRANCHES["next"], BRANCHES["next"])
    assert choose("commit", "ABCCCCC", BRANCHES, TAGS) == Chosen(BRANCHES["next"], BRANCHES["next"])
    assert choose("commit", "f" * 40, BRANCHES, TAGS) is None
    with pytest.raises(RepositoryError, match="Several commits"):
        choose("commit", "0000000", BRANCHES, TAGS)


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
def test_what_is_not_there_is_refused(kind: str, reference: str) -> None:
    with pytest.raises(RepositoryError) as refused:
        choose(kind, reference, BRANCHES, TAGS)  # type: ignore[arg-type]
    assert refused.value.kind == "reference"
