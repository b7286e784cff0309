"""Each published guarantee names tests, and these tests exist."""

import ast
import re
from pathlib import Path

from tests.architecture.source import tree

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
HEADING = re.compile(r"^## (G\d+) ", re.MULTILINE)
TEST = re.compile(r"^- `(tests/[\w/]+\.py)::(test_\w+)`$", re.MULTILINE)


def by_guarantee() -> dict[str, list[tuple[str, str]]]:
    """The tests below each guarantee's heading."""
    _, *parts = HEADING.split(PAGE.read_text().partition("## What is not promised")[0])
    return {name: TEST.findall(text) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def test_every_guarantee_has_tests() -> None:
    found = by_guarantee()

    assert list(found) == [f"G{number}" for number in range(1, 13)]
    assert {name for name, tests in found.items() if len(tests) < 2} == set()


def test_every_named_test_exists() -> None:
    named = {test for tests in by_guarantee().values() for test in tests}
    root = PAGE.parents[1]

    missing = {(file, test) for file, test in named if test not in functions_of(root / file)}

    assert missing == set()


def functions_of(path: Path) -> set[str]:
    """Return the names of a file's functions; none if the file does not exist."""
    if not path.exists():
        return set()
    return {node.name for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
