"""Hints: sentences in `X-Annals-Hint` about mistakes that the contract accepts or reports vaguely."""

import re
from collections.abc import Iterable

import msgspec
from multipart import parse_options_header

from annals.domain.decoding import UNREADABLE

HEADER = b"x-annals-hint"
LONGEST = 500
"""Most characters of one answer's hints together."""

_AT = re.compile(r"\(byte ([0-9]+)\)", re.ASCII)
_PLAIN = re.compile(r"[^\x20-\x7e]")
_NAMED = re.compile(r"[^A-Za-z0-9.*_-]")
_LONGEST_NAME = 80
_decode = msgspec.json.Decoder().decode


def header_of(hints: Iterable[str]) -> str:
    """Return the value of the header: printable ASCII of bounded length, empty if there are no hints."""
    return _PLAIN.sub("?", " ".join(hints))[:LONGEST]


def named(text: str) -> str:
    """Return a name from a client without characters that end a header or a sentence, cut to a bounded length."""
    return _NAMED.sub("?", text[:_LONGEST_NAME])


def of_body(content_type: str, body: bytes) -> str:
    """Return why a JSON body was read as an empty set of parameters. The text is empty for every other body."""
    kind, _ = parse_options_header(content_type) if content_type else ("", {})
    if kind.strip().lower() != "application/json" or not body:
        return ""
    try:
        decoded = _decode(body)
    except UNREADABLE as error:
        found = _AT.search(str(error))
        position = f"byte {found[1]}" if found else f"it breaks off or is too deep, {len(body)} bytes"
        return f"The body's type is application/json, but it is no JSON ({position}). No parameter was read from it."
    if isinstance(decoded, dict | list):
        return ""
    return "The body is JSON, but no object. No parameter was read from it."
