"""The security page names tests of each defence, and these tests exist."""

import re
from pathlib import Path

from tests.architecture.test_guarantees import functions_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_defence_names_existing_tests() -> None:
    _, *parts = PAGE.read_text().partition("## What it is made of")[0].split("\n### ")
    named = {part.partition("\n")[0]: TEST.findall(part) for part in parts}

    assert len(named) >= 10
    assert {name for name, tests in named.items() if len(tests) < 2} == set()
    missing = {
        (file, test) for tests in named.values() for file, test in tests if test not in functions_of(ROOT / file)
    }
    assert missing == set()
