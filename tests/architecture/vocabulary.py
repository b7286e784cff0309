"""Words with a meaning of this project alone, and the standard terms that replace them.

Run as a program it prints every use: `python -m tests.architecture.vocabulary annals/store tests/unit/store`.
"""

import ast
import io
import itertools
import re
import sys
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from tests.architecture.source import ROOT, modules

IDENTIFIERS = {
    "trip": "pipeline",
    "stint": "permit",
    "company": "tenant activity",
    "gate": "capacity limiter",
    "lane": "tenant queue",
    "desk": "dispatcher",
    "bell": "notification",
    "wakeup": "job message",
    "knock": "direct dispatch",
    "presence": "process lease",
    "patience": "retry",
    "patiently": "retry",
    "stretch": "event batch",
    "fact": "recorded event",
    "vacancy": "freed slot",
    "litter": "blob garbage",
    "chore": "cleanup",
    "warmth": "prewarming",
    "nursery": "fork server",
    "newborn": "spawned process",
    "teller": "demo client",
    "settlement": "outcome recording",
    "settle": "record outcome",
    "undo": "revert",
    "tries": "attempts, or sign-in throttle",
    "tried": "dry run",
    "scratch": "staging table",
    "shadow": "staging table",
    "beginnings": "stream heads",
    "telling": "redaction",
    "told": "notified, served or redacted: whichever is meant",
    "untold": "suppressed or redacted",
    "attendant": "sandbox agent",
    "entrance": "listening socket",
    "condemn": "retire",
    "condemned": "retired",
    "unfit": "ValidationError",
    "whitelist": "OneOf",
    "refusal": "error",
    "crowded": "at limit",
    "house": "architecture",
    "room": "package",
    "shelf": "claim reconciliation, or idle instances",
    "what": "the noun that is meant",
    "who": "the noun that is meant",
    "whoever": "the noun that is meant",
    "nobody": "the noun that is meant",
    "somebody": "the noun that is meant",
    "place": "slot, prefix, destination, position or index: whichever is meant",
}
"""A word of an identifier (`record_later` has two, `WorkPlace` is `workplace`), and the standard term."""

SETTINGS = {"checkpoint_places", "database_patience_s"}
"""Settings, which keep their spelling."""

PROSE = {
    r"stints?": "permit",
    r"wake-?ups?": "job message",
    r"knock(s|ed|ing)?": "direct dispatch",
    r"in (any )?company": "while other tenants call",
    r"whoever|whatever|whichever of": "the noun that is meant",
    r"nobody|somebody|anybody|everybody": "no process, a client, any caller: the noun that is meant",
    r"\w+, who \w+s (much|little)": "a sentence with a subject",
    r"patien(ce|tly)": "retry, timeout",
    r"litter": "garbage",
    r"chores?": "cleanup",
    r"warmth": "prewarming",
    r"vacanc(y|ies)": "freed slot",
    r"nursery|newborns?": "fork server, spawned process",
    r"refusals?": "error",
    r"(is|are|was|were|be|been|being) (un)?told": "is notified, answers, shows: the verb that is meant",
    r"(is|are) nobody's": "has no owner",
    r"that which|of those|of that which": "a plain relative clause",
    r"where (one|it|there) is": "if there is one",
    r"as ever|anew": "as before, again",
}
"""Patterns of whole words in docstrings, comments, Markdown and error messages, and what to write instead."""

_NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PROSE = re.compile("|".join(rf"(?P<p{n}>\b(?:{pattern})\b)" for n, pattern in enumerate(PROSE)), re.IGNORECASE)
_TEST_NAME = re.compile(r"^test_(an?|the|what|who|whoever|of|it|one|nobody|somebody)_")


class Use(NamedTuple):
    """One use of a banned word."""

    location: str
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.location}: {self.word!r}; write {self.instead}"


def uses(folder: str) -> Iterator[Use]:
    """Yield every banned word in the Python and Markdown files below a folder or in one file."""
    path = ROOT / folder
    sources = [path] if path.is_file() else [*modules(folder), *sorted(path.rglob("*.md"))]
    for source in sources:
        name = source.relative_to(ROOT).as_posix()
        text = source.read_text()
        if source.suffix == ".md":
            yield from _in_prose(name, text, 1)
        else:
            yield from in_python(name, text)


def in_python(name: str, text: str) -> Iterator[Use]:
    """Yield every banned word in Python source."""
    documented = _docstring_lines(text)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.NAME:
            yield from _in_identifier(f"{name}:{line}", token.string)
        elif token.type == tokenize.COMMENT or (token.type == tokenize.STRING and line in documented):
            yield from _in_prose(name, token.string, line)


def _in_identifier(location: str, identifier: str) -> Iterator[Use]:
    if _TEST_NAME.match(identifier):
        yield Use(location, identifier, "a specification that begins with its subject")
    parts = [part.lower() for part in _NAME_PARTS.findall(identifier)]
    words = {*parts, *(a + b for a, b in itertools.pairwise(parts))}
    for word in words:
        for form in (word, word.removesuffix("s"), f"{word[:-3]}y" if word.endswith("ies") else word):
            if identifier.startswith("test_") and form in {"what", "who"}:  # only as the first word, see above
                break
            if form in IDENTIFIERS and identifier not in SETTINGS:
                yield Use(location, identifier, IDENTIFIERS[form])
                break


def _in_prose(name: str, text: str, first_line: int) -> Iterator[Use]:
    for match in _PROSE.finditer(text):
        line = first_line + text.count("\n", 0, match.start())
        instead = next(value for n, value in enumerate(PROSE.values()) if match[f"p{n}"])
        yield Use(f"{name}:{line}", match[0], instead)


def _docstring_lines(text: str) -> set[int]:
    """Return the first lines of strings that stand alone: docstrings of modules, definitions and attributes."""
    return {
        node.value.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


def duplicate_names(folder: str = "annals") -> dict[str, list[str]]:
    """Return public class names that several modules define, with the modules."""
    found: dict[str, list[str]] = {}
    for path in modules(folder):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    return {name: paths for name, paths in sorted(found.items()) if len(paths) > 1}


def main(folders: list[str]) -> None:
    count = 0
    for folder in folders or ["annals", "tests", "bench", "docs", "README.md"]:
        for use in uses(folder):
            print(use)
            count += 1
    for name, paths in duplicate_names().items():
        if any(path.startswith(tuple(folders)) for path in paths):
            print(f"class {name} means {len(paths)} things: {', '.join(paths)}")
    print(f"{count} uses", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])


__all__ = ["IDENTIFIERS", "PROSE", "Use", "duplicate_names", "in_python", "uses"]
