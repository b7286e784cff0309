"""The parser of the Python function server alone: bytes mean the same in pieces of any size."""

import importlib
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import annals

sys.path.append(str(Path(annals.__file__).parent / "runtimes" / "python" / "src"))
parser: Any = importlib.import_module("annals_runtime.head")
requests: Any = importlib.import_module("annals_runtime.request")
responses: Any = importlib.import_module("annals_runtime.response")


def chunked(parts: list[bytes], extension: str = "") -> bytes:
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension.encode(), part) for part in parts) + b"0\r\n\r\n"


@given(
    parts=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    cuts=st.lists(st.integers(0, 4000), max_size=10),
    extension=st.sampled_from(["", ";a=b", " ;x"]),
    following=st.binary(max_size=20),
)
def test_chunked_body_is_the_same_in_any_pieces(
    parts: list[bytes], cuts: list[int], extension: str, following: bytes
) -> None:
    data = chunked(parts, extension)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks, buffer, body = parser.Chunks(), bytearray(), b""

    for start, end in pairwise(edges):
        buffer += data[start:end]
        body += chunks.feed(buffer)
    buffer += following
    body += chunks.feed(buffer)

    assert chunks.done
    assert body == b"".join(parts)
    assert bytes(buffer) == following


@pytest.mark.parametrize(
    "data",
    [
        b"g\r\n",
        b"-1\r\n",
        b"\r\n",
        b"0x5\r\nhello\r\n",
        b"5\r\nhello!\r\n",
        b"5\nhello\n0\n\n",
        b"1" * 5000,
        b"ffffffffffffffff\r\n",
        b"5;a=\x00\r\nhello\r\n",
    ],
)
def test_malformed_chunk_is_refused(data: bytes) -> None:
    chunks, buffer = parser.Chunks(), bytearray(data)

    with pytest.raises(parser.Malformed):
        chunks.feed(buffer + b"\r\n" * 2)


@given(before=st.sampled_from([b"", b"GET / HTTP/1.1\r\nhost: x\r\n", b"PUT /"]), noise=st.binary(max_size=400))
def test_no_bytes_break_the_parser(before: bytes, noise: bytes) -> None:
    refused = 0
    try:
        head = parser.Head(before + noise)
    except parser.Malformed as error:
        refused = error.status
    assert refused in {400, 431, 501} or head.length is None or head.length >= 0


@given(st.dictionaries(st.from_regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,20}", fullmatch=True), st.text(max_size=40)))
def test_headers_come_back_as_they_were_sent(given_headers: dict[str, str]) -> None:
    sent = {
        name.lower(): " ".join("".join(c for c in value if c.isprintable()).split())
        for name, value in given_headers.items()
        if name.lower() not in {"content-length", "transfer-encoding", "host"}
    }
    lines = ["GET / HTTP/1.1", "Host: x", *(f"{name.title()}: {value}  " for name, value in sent.items())]

    head = parser.Head("\r\n".join(lines).encode())

    assert head.headers == {"host": "x", **sent}


@pytest.mark.parametrize("value", ["chunked, chunked", "gzip", "gzip, chunked", "xchunked", "chunked\x0b"])
def test_only_plain_chunked_is_a_coding(value: str) -> None:
    with pytest.raises(parser.Malformed) as error:
        parser.Head(f"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: {value}".encode())

    assert error.value.status in {400, 501}


@pytest.mark.parametrize("value", ["+5", "5, 5", "0x5", "٥", "5 5", "", "9" * 16])
def test_length_is_plain_digits(value: str) -> None:
    with pytest.raises(parser.Malformed):
        parser.Head(f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {value}".encode())


@pytest.mark.parametrize(
    ("host", "scheme", "expected"),
    [
        ("a.b:8080", "http", ("a.b", 8080)),
        ("a.b", "https", ("a.b", 443)),
        ("a.b:", "http", ("a.b", 80)),
        ("a.b:x", "http", ("a.b", 80)),
        ("[::1]:81", "http", ("[::1]", 81)),
        ("[::1]", "http", ("[::1]", 80)),
        ("", "http", ("", 80)),
    ],
)
def test_host_is_split_at_its_port(host: str, scheme: str, expected: tuple[str, int]) -> None:
    assert requests.split_host(host, scheme) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a?b", "/a?b"),
        ("http://x.y/a?b", "/a?b"),
        ("https://x.y", "/"),
        ("http://x.y?q=1", "/?q=1"),
        ("*", "*"),
        ("/http://x", "/http://x"),
    ],
)
def test_target_is_reduced_to_path_and_query(target: str, expected: str) -> None:
    assert requests.origin_form(target) == expected


@given(
    st.text(max_size=30), st.one_of(st.text(max_size=30), st.integers(), st.booleans(), st.lists(st.text(max_size=9)))
)
def test_no_response_header_splits_the_response(name: str, value: Any) -> None:
    try:
        reply = responses.finish({"headers": {name: value}}, "id")
    except responses.Unusable:
        return
    for line in reply.headers:
        written = ": ".join(line).encode("utf-8", "surrogateescape")
        assert b"\r" not in written
        assert b"\n" not in written
        assert b"\0" not in written
