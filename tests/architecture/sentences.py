"""Sentences of the docs that are too long to read once.

Run as a program it prints them: `python -m tests.architecture.sentences docs/guide.md README.md`.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.architecture.pages import pages
from tests.architecture.source import ROOT

LONGEST = 25
_LEFT_OUT = re.compile(r"^```.*?^```$|^<!-- (\w+):begin -->.*?^<!-- \1:end -->$|<!--.*?-->", re.MULTILINE | re.DOTALL)
_LINE_LEFT_OUT = re.compile(r"\s*\||#|    \S")
"""Rows of tables, headings and indented code."""

_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.) (?:\[[ x]\] )?")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"(`+).+?\1")
_END = re.compile(r"(?<=[.!?])[\"')*]*\s+(?=[\"'(*]*[A-Z0-9`])")
_WORD = re.compile(r"[^\W_][\w'’.%+-]*(?:/\w+)*")


class Sentence(NamedTuple):
    """A sentence of a page, with the line at which its paragraph begins."""

    location: str
    words: int
    text: str

    def __str__(self) -> str:
        return f"{self.location}: {self.words} words: {self.text}"


def sentences(name: str, text: str) -> Iterator[Sentence]:
    """Yield the sentences of a page's paragraphs and list items; a code span counts as one word."""
    for line, paragraph in _paragraphs(text):
        plain = _CODE.sub("Code", _LINK.sub(r"\1", paragraph))
        for sentence in _END.split(plain):
            yield Sentence(f"{name}:{line}", len(_WORD.findall(sentence)), sentence)


def long_sentences(path: Path) -> list[Sentence]:
    """Return the sentences of a page that have more than `LONGEST` words."""
    name = path.relative_to(ROOT).as_posix()
    return [found for found in sentences(name, path.read_text()) if found.words > LONGEST]


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the first line and the text of each paragraph and list item; tables, headings and code are left out."""
    kept = _LEFT_OUT.sub(lambda match: "\n" * match[0].count("\n"), text)
    start, collected = 0, list[str]()
    for number, line in enumerate([*kept.splitlines(), ""], 1):
        in_list = collected and line.startswith("    ")
        ends = not line.strip() or (_LINE_LEFT_OUT.match(line) and not in_list) or _ITEM.match(line)
        if ends and collected:
            yield start, " ".join(collected)
            collected = []
        if line.strip() and (in_list or not _LINE_LEFT_OUT.match(line)):
            start = start if collected else number
            collected.append(_ITEM.sub("", line).strip())


def main(names: list[str]) -> None:
    count = 0
    for path in [ROOT / name for name in names] or pages():
        for sentence in long_sentences(path):
            print(sentence)
            count += 1
    print(f"{count} sentences have more than {LONGEST} words", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
