"""Reads the multipart form of an upload as it arrives: fields are collected, the file is streamed to its store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from multipart import MultipartError, MultipartSegment, parse_options_header

from annals.app.edge.errors import FileInvalid
from annals.app.parameters.body import as_text, push_parser
from annals.app.parameters.brackets import fold
from annals.domain.errors import ArgumentInvalid

FIELDS_LIMIT = 256 * 1024
"""Most bytes of all fields together."""

MOST_SKIPPED = 64 * 1024 * 1024
"""Most bytes of an unwanted file that are read and dropped, so that the client receives the answer."""

_Events = AsyncIterator["MultipartSegment | bytes | bytearray | None"]
Keep = Callable[[str, AsyncIterator[bytes]], Awaitable[None]]
"""Takes a file's name and content. Bytes that it does not read are skipped."""


async def read_form(content_type: str, pieces: AsyncIterator[bytes], keep: Keep) -> dict[str, Any]:
    """Return the fields of a form. Each part `code` that is a file is handed to `keep` as it arrives.

    Raises FileInvalid if the form ends before its file does, and ArgumentInvalid for too many or too large fields.
    """
    _, options = parse_options_header(content_type)
    fields: list[tuple[str, str | bytes]] = []
    size = 0
    events = _events(options.get("boundary", ""), pieces)
    try:
        async for event in events:
            if not isinstance(event, MultipartSegment):
                continue
            content = _content(events)
            if event.name == "code" and event.filename is not None:
                await keep(event.filename, content)
                await _skip(content)
                continue
            value = bytearray()
            async for piece in content:
                size += len(piece)
                if size > FIELDS_LIMIT:
                    raise ArgumentInvalid(f"The form's fields are larger than {FIELDS_LIMIT} bytes.")
                value += piece
            fields.append((event.name, as_text(bytes(value))))
    except (MultipartError, ValueError) as error:
        raise FileInvalid(f"The form cannot be read: {error}") from error
    return fold(fields)


async def _skip(content: AsyncIterator[bytes]) -> None:
    skipped = 0
    async for piece in content:
        skipped += len(piece)
        if skipped > MOST_SKIPPED:
            raise FileInvalid("The file is not needed, and too large to be skipped.")


async def _events(boundary: str, pieces: AsyncIterator[bytes]) -> _Events:
    parser = push_parser(boundary)
    async for piece in pieces:
        for event in parser.parse(piece):
            yield event
    parser.close()


async def _content(events: _Events) -> AsyncIterator[bytes]:
    """Yield the rest of the part that has just begun."""
    async for event in events:
        if event is None:
            return
        yield bytes(event)
