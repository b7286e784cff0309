"""Parses JSON, forms and query strings within bounds. Invalid input is an empty set of parameters."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from annals.app.parameters.brackets import fold
from annals.domain.decoding import UNREADABLE
from annals.domain.errors import ArgumentInvalid

_MOST_FIELDS = 2000
_MOST_HEADER_BYTES = 8192
_decode = msgspec.json.Decoder().decode


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
