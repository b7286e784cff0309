"""Hints: what an answer says in `X-Annals-Hint` beside a contract that has it accept a mistake, or name it vaguely."""

import re
from collections.abc import Iterable

import msgspec
from multipart import parse_options_header

from annals.domain.decoding import UNREADABLE

HEADER = b"x-annals-hint"
LONGEST = 500
"""Most characters of one answer's hints together."""

KEY_UNKNOWN = "The API key is none of this project's. `annals keys list` shows the project's keys."
KEY_VOID = "The API key has expired, is malformed or is of another project, so the request counts as a guest's."
PROJECT_UNKNOWN = "No project has the id in X-Appwrite-Project. `annals projects list` shows all projects."

_AT = re.compile(r"\(byte ([0-9]+)\)", re.ASCII)
_PLAIN = re.compile(r"[^\x20-\x7e]")
_NAMED = re.compile(r"[^A-Za-z0-9.*_-]")
_LONGEST_NAME = 80
_decode = msgspec.json.Decoder().decode


def header_of(hints: Iterable[str]) -> str:
    """The value of the header: printable ASCII, bounded; empty where there is nothing to say."""
    return _PLAIN.sub("?", " ".join(hints))[:LONGEST]


def named(text: str) -> str:
    """A name that a client sent, with nothing in it that ends a header or a sentence, and not long."""
    return _NAMED.sub("?", text[:_LONGEST_NAME])


def of_body(content_type: str, body: bytes) -> str:
    """Why a body that says it is JSON was read as an empty set of parameters; empty for every other one."""
    kind, _ = parse_options_header(content_type) if content_type else ("", {})
    if kind.strip().lower() != "application/json" or not body:
        return ""
    try:
        decoded = _decode(body)
    except UNREADABLE as error:
        found = _AT.search(str(error))
        place = f"byte {found[1]}" if found else f"it breaks off or is too deep, {len(body)} bytes"
        return f"The body's type is application/json, but it is no JSON ({place}). No parameter was read from it."
    if isinstance(decoded, dict | list):
        return ""
    return "The body is JSON, but no object. No parameter was read from it."
