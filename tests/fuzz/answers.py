"""Reads HTTP answers from raw bytes, and checks each of them against the contract for all input."""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n")
_ENVELOPE = {"message": str, "code": int, "type": str, "version": str}
_BODILESS = frozenset({204, 304})


class Answer(NamedTuple):
    """One HTTP answer; `whole` is false if the connection ended before the end of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True

    @property
    def is_event_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


def read_answers(received: bytes) -> list[Answer]:
    """Return the answers in a connection's bytes; raise ValueError for bytes that are no HTTP answer.

    After a broken request, the request of an answer is unknown. So an answer whose announced body is missing counts as
    the answer to a HEAD request.
    """
    answers: list[Answer] = []
    rest = received
    while rest:
        answer, rest = _read_one(rest)
        if answer is not None:
            answers.append(answer)
    return answers


def _read_one(data: bytes) -> tuple[Answer | None, bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    line = _STATUS_LINE.match(head + b"\r\n")
    if line is None:
        raise ValueError(f"no HTTP answer: {data[:200]!r}")
    if not end:
        return None, b""  # the connection was closed within the head
    status, headers = int(line[1]), _headers(head)
    if status < 200:
        return None, rest
    if status in _BODILESS or not rest or _STATUS_LINE.match(rest):
        return Answer(status, headers, b""), rest
    if headers.get("transfer-encoding") == "chunked":
        body, rest, whole = _chunks(rest)
        return Answer(status, headers, body, whole), rest
    length = int(headers.get("content-length", len(rest)))
    return Answer(status, headers, rest[:length], len(rest) >= length), rest[length:]


def _headers(head: bytes) -> dict[str, str]:
    found = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if not colon:
            raise ValueError(f"no header: {line[:200]!r}")
        found[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    return found


def _chunks(data: bytes) -> tuple[bytes, bytes, bool]:
    """Return the decoded body, the bytes behind it, and True if its last chunk was present."""
    body = b""
    while True:
        size, end, rest = data.partition(b"\r\n")
        if not end:
            return body, b"", False
        length = int(size, 16)
        if length == 0:
            return body, rest[2:], rest.startswith(b"\r\n")
        body, data = body + rest[:length], rest[length + 2 :]


def fault_of(answer: Answer) -> str | None:
    """Return a description of how an API answer breaks the contract, or None if it keeps the contract."""
    unready = answer.status == 503 and "retry-after" in answer.headers
    if answer.status >= 500 and not unready:
        return f"status {answer.status}: {answer.body[:300]!r}"
    if not answer.whole:
        return None if answer.is_event_stream else f"the body of a {answer.status} answer ends early"
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    if answer.status >= 400:
        return _envelope_fault(answer, is_json=is_json)
    if is_json and answer.body:
        try:
            json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            return f"a {answer.status} answer is no JSON ({error}): {answer.body[:300]!r}"
    return None


def _envelope_fault(answer: Answer, *, is_json: bool) -> str | None:
    if not answer.body:  # the answer to a HEAD request
        return None
    try:
        envelope = json.loads(answer.body)
    except (ValueError, RecursionError):
        envelope = None
    fits = (
        is_json
        and isinstance(envelope, dict)
        and envelope.keys() == _ENVELOPE.keys()
        and all(isinstance(envelope[name], kind) for name, kind in _ENVELOPE.items())
        and envelope["code"] == answer.status
    )
    return None if fits else f"a {answer.status} answer outside of the envelope: {answer.body[:300]!r}"
