"""Ranges of chunks and downloads, and forms that are read as they arrive."""

from collections.abc import AsyncIterator

import pytest

from annals.app.deployments.ranges import CHUNK, OPEN_END, UploadChunk, parse_chunk, parse_range
from annals.app.deployments.receive import FIELDS_LIMIT, read_form
from annals.app.errors import ContentRangeInvalid, FileInvalid, RangeInvalid
from annals.domain.errors import ArgumentInvalid
from tests.client import form

SIZE = CHUNK + 10


@pytest.mark.parametrize(
    ("header", "chunk"),
    [
        (f"bytes 0-{CHUNK - 1}/{SIZE}", UploadChunk(0, 2, CHUNK, SIZE)),
        (f"bytes {CHUNK}-{SIZE - 1}/{SIZE}", UploadChunk(1, 2, 10, SIZE)),
        (f"bytes {CHUNK}-{SIZE}/{SIZE}", UploadChunk(1, 2, 10, SIZE)),
        ("bytes 0-9/10", None),
        ("bytes 0-10/10", None),
    ],
)
def test_chunk_is_numbered_by_its_start(header: str, chunk: UploadChunk | None) -> None:
    assert parse_chunk(header) == chunk


@pytest.mark.parametrize(
    "header",
    [
        *("bytes", "items 0-9/10", "bytes a-b/c", "bytes 5-4/10", "bytes 0-11/10", "bytes 0-9/*", "bytes -9/10"),
        *("bytes 10-10/10", "bytes 0-0/0", f"bytes 1-{CHUNK}/{SIZE}", f"bytes 0-5/{SIZE}", f"bytes 0-{CHUNK}/{SIZE}"),
    ],
)
def test_unusable_content_range_is_refused(header: str) -> None:
    with pytest.raises(ContentRangeInvalid):
        parse_chunk(header)


@pytest.mark.parametrize(
    ("header", "size", "range_"),
    [
        ("bytes=0-9", 10, (0, 9)),
        ("bytes=2-5", 10, (2, 5)),
        ("bytes=0-", 10, (0, 9)),
        ("bytes=5-", OPEN_END * 2, (5, OPEN_END + 4)),
    ],
)
def test_range_header_includes_both_ends(header: str, size: int, range_: tuple[int, int]) -> None:
    assert parse_range(header, size) == range_


@pytest.mark.parametrize(
    "header",
    ["items=0-9", "bytes=5-5", "bytes=0-10", "bytes=-5", "bytes=0-1,3-4", "bytes=9-", "bytes=10-", "bytes 0-9"],
)
def test_unsatisfiable_range_is_refused(header: str) -> None:
    with pytest.raises(RangeInvalid):
        parse_range(header, 10)


async def in_pieces(body: bytes, step: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), step):
        yield body[start : start + step]


async def read(content_type: str, body: bytes, step: int = 7) -> tuple[dict[str, object], list[tuple[str, bytes]]]:
    files = []

    async def keep(name: str, content: AsyncIterator[bytes]) -> None:
        files.append((name, b"".join([piece async for piece in content])))

    return await read_form(content_type, in_pieces(body, step), keep), files


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_form_is_read_from_pieces_of_any_size(step: int) -> None:
    content_type, body = form({"activate": "true", "commands": "a\r\nb"}, b"\x1f\x8b\r\n--", "code.tar.gz")

    fields, files = await read(content_type, body, step)

    assert fields == {"activate": "true", "commands": "a\r\nb"}
    assert files == [("code.tar.gz", b"\x1f\x8b\r\n--")]


async def test_field_named_code_is_not_a_file() -> None:
    fields, files = await read(*form({"code": "text"}, None, ""))

    assert fields == {"code": "text"}
    assert files == []


async def test_truncated_form_is_refused() -> None:
    content_type, body = form({"activate": "true"}, b"x" * 100, "code.tar.gz")
    for end in (20, 100, len(body) - 60, len(body) - 4):
        with pytest.raises(FileInvalid):
            await read(content_type, body[:end])


async def test_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(FileInvalid):
        await read("multipart/form-data", b"--x\r\n")


async def test_fields_are_bounded() -> None:
    with pytest.raises(ArgumentInvalid):
        await read(*form({"commands": "x" * (FIELDS_LIMIT + 1)}, None, ""), 65_536)


async def test_unread_rest_of_a_file_is_skipped() -> None:
    async def keep(_: str, _content: AsyncIterator[bytes]) -> None:
        return None

    content_type, body = form({"activate": "true"}, b"x" * 100, "code.zip")
    boundary = content_type.partition("=")[2]
    tail = f'--{boundary}\r\nContent-Disposition: form-data; name="last"\r\n\r\n1\r\n--{boundary}--\r\n'
    body = body.replace(f"--{boundary}--\r\n".encode(), tail.encode())

    assert await read_form(content_type, in_pieces(body, 9), keep) == {"activate": "true", "last": "1"}
