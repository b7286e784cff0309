"""Parses JSON, forms and query strings within bounds. Invalid input is an empty set of parameters.

Query strings and forms encode arrays and maps by names with brackets: `a[]=1`, `a[0]=1`, `a[b][c]=1`.
"""

import re
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from annals.domain.decoding import UNREADABLE
from annals.domain.errors import ArgumentInvalid

_MOST_FIELDS = 2000
_MOST_HEADER_BYTES = 8192
_decode = msgspec.json.Decoder().decode
_KEY = re.compile(r"\[([^\]]*)\]")
_DEEPEST = 16


def query_parameters(query: bytes) -> dict[str, Any]:
    """Return a query string's parameters with brackets folded. Too many parameters count as none."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="replace"
        )
    except ValueError:
        return {}
    return fold(pairs)


def body_parameters(content_type: str, body: bytes) -> dict[str, Any]:
    """Return a body's parameters. An unreadable body is an empty set (http-api.md 2)."""
    kind, options = parse_options_header(content_type) if content_type else ("", {})
    kind = kind.strip().lower()
    if kind == "application/json":
        return _json(body)
    if kind.startswith("multipart/"):
        return _multipart(options.get("boundary", ""), body)
    return query_parameters(body)


def _json(body: bytes) -> dict[str, Any]:
    try:
        decoded = _decode(body)
    except UNREADABLE:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _multipart(boundary: str, body: bytes) -> dict[str, Any]:
    """Return every part as a field: text if it is UTF-8, otherwise bytes. Files are fields too."""
    try:
        parser = push_parser(boundary)
        fields: list[tuple[str, str | bytes]] = []
        content = bytearray()
        for event in parser.parse(body):
            match event:
                case MultipartSegment(name=name):
                    content = bytearray()
                case None:
                    fields.append((name, as_text(bytes(content))))
                case piece:
                    content += piece
    except (MultipartError, ValueError):
        return {}
    return fold(fields)


def push_parser(boundary: str) -> PushMultipartParser:
    """Return a parser with bounds. Raises MultipartError or ValueError for an invalid boundary."""
    if not boundary or len(boundary) > 200:
        raise ValueError("A multipart body needs a boundary")
    return PushMultipartParser(
        boundary, max_segment_count=_MOST_FIELDS, max_header_size=_MOST_HEADER_BYTES, max_header_count=16
    )


def as_text(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


async def whole(pieces: AsyncIterator[bytes], limit: int) -> bytes:
    """Return a body of at most `limit` bytes. Raises ArgumentInvalid for a larger one."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > limit:
            raise ArgumentInvalid(f"The request's body is larger than {limit} bytes.")
    return bytes(body)


class _Level(dict[str, Any]):
    """One level of the tree while it is filled. `next` is the key that the next `[]` stands for."""

    next = 0

    def put(self, key: str, value: Any) -> None:
        if key.isascii() and key.isdigit() and len(key) < 10:
            self.next = max(self.next, int(key) + 1)
        self[key] = value


def fold(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return names and values as nested maps and lists, in the order sent. The last value of a repeated plain name
    counts."""
    tree = _Level()
    for name, value in pairs:
        if path := _path(name):
            _put(tree, path, value)
    return {name: _lists(value) for name, value in tree.items()}


def _path(name: str) -> list[str]:
    """Return `a[b][]` as ["a", "b", ""]. Other names are one key, also with unclosed brackets."""
    start = name.find("[")
    if start <= 0:
        return [name] if name else []
    keys: list[str] = []
    at = start
    while len(keys) < _DEEPEST and (match := _KEY.match(name, at)):
        keys.append(match.group(1))
        at = match.end()
    return [name[:start], *keys] if keys else [name]


def _put(level: _Level, path: list[str], value: Any) -> None:
    for key in path[:-1]:
        slot = key or str(level.next)
        below = level.get(slot)
        if not isinstance(below, _Level):
            below = _Level()
            level.put(slot, below)
        level = below
    level.put(path[-1] or str(level.next), value)


def _lists(value: Any) -> Any:
    """Return levels whose keys are all numbers as lists, in the order sent."""
    if not isinstance(value, _Level):
        return value
    below = {key: _lists(item) for key, item in value.items()}
    return list(below.values()) if all(key.isascii() and key.isdigit() for key in below) else below
