"""Pushes that start a build: globs of branches and of changed files."""

import pytest

from annals.domain.origin import Push, builds, matches


@pytest.mark.parametrize(
    ("glob", "fitting", "others"),
    [
        ("main", ["main"], ["main2", "a/main", "Main"]),
        ("feature/*", ["feature/a"], ["feature", "feature/a/b", "xfeature/a"]),
        ("feature/**", ["feature/a", "feature/a/b"], ["feature"]),
        ("*", ["main"], ["a/b"]),
        ("**", ["main", "a/b/c"], []),
        ("v?", ["v1"], ["v", "v10", "v/"]),
        ("**/*.js", ["a.js", "a/b/c.js"], ["a.jsx"]),
        ("src/**/test.js", ["src/test.js", "src/a/b/test.js"], ["srctest.js"]),
        ("a.b+c", ["a.b+c"], ["axb+c", "a.bbc"]),
    ],
)
def test_globs_match_segments(glob: str, fitting: list[str], others: list[str]) -> None:
    assert [text for text in fitting if not matches(text, [glob])] == []
    assert [text for text in others if matches(text, [glob])] == []


def test_last_glob_that_matches_decides() -> None:
    assert matches("docs/a.md", ["**"])
    assert not matches("docs/a.md", ["**", "!docs/**"])
    assert matches("docs/keep.md", ["**", "!docs/**", "docs/keep.md"])
    assert matches("src/a.js", ["!docs/**"])
    assert not matches("docs/a.md", ["!docs/**"])


def test_push_matches_by_branch_and_by_any_file() -> None:
    push = Push(branch="main", paths=frozenset({"api/a.js", "docs/x.md"}))

    assert builds(push, branches=[], paths=[])
    assert builds(push, branches=["main", "next"], paths=["api/**"])
    assert not builds(push, branches=["next"], paths=[])
    assert not builds(push, branches=[], paths=["web/**"])
    assert builds(Push(branch="main", paths=None), branches=[], paths=["web/**"])
    assert not builds(Push(branch="main", paths=frozenset()), branches=[], paths=["web/**"])
