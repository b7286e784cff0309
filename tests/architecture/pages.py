"""The pages of the documentation and their code blocks.

Every shell block of a page runs in a test. A block that cannot run there has the comment
`<!-- not run: why -->` above it.
"""

import re
from pathlib import Path
from typing import NamedTuple

from tests.architecture.source import ROOT

GENERATED = {"compatibility.md", "errors.md", "http-api.md", "reference.md", "settings.md"}
"""Pages that `make docs` writes from the code."""

_BLOCK = re.compile(r"^(?:<!-- not run: (.*?) -->\n\n?)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block; `not_run` is the reason why no test runs it."""

    language: str
    text: str
    not_run: str


def pages() -> list[Path]:
    """Return the pages that people write: README, CHANGELOG and the docs with the decisions."""
    docs = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name not in GENERATED]
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *docs]


def blocks(page: str, section: str = "") -> list[Block]:
    """Return the code blocks of a page, named by its path, or of one of its second-level sections."""
    text = (ROOT / page).read_text()
    if section:
        text = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [Block(match[2], match[3], match[1] or "") for match in _BLOCK.finditer(text)]


def commands(page: str, section: str = "") -> list[str]:
    """Return the shell blocks of a page that its test runs, in order."""
    return [block.text for block in blocks(page, section) if block.language == "sh" and not block.not_run]
