"""Log frames are parsed equally in pieces of any size, and are never stored."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.executor.logs.frames import END, FRAME_LIMIT, FrameError, FrameParser


class Recorder:
    def __init__(self) -> None:
        self.text = {0: b"", 1: b""}
        self.ends = 0
        self.largest = 0

    def add(self, kind: int, data: bytes) -> None:
        assert data
        self.text[kind] += data
        self.largest = max(self.largest, len(data))

    def end(self) -> None:
        self.ends += 1


def frame(kind: int, log_id: bytes, text: bytes = b"") -> bytes:
    return struct.pack(">IBB", 2 + len(log_id) + len(text), kind, len(log_id)) + log_id + text


Result = tuple[list[tuple[dict[int, bytes], int]], int, str]


def parsed(pieces: list[bytes], most: int) -> Result:
    """Return the content of two logs, the number of frames begun, and the error, if there was one."""
    logs = {b"": Recorder(), b"known": Recorder()}
    parser = FrameParser(logs)
    begun, error = 0, ""
    try:
        for piece in pieces:
            at = 0
            while at < len(piece):
                at, more = parser.feed(piece, at, most)
                assert more <= most
                begun += more
    except FrameError as failure:
        error = str(failure)
    return [(log.text, log.ends) for log in logs.values()], 0 if error else begun, error


ids = st.sampled_from([b"", b"known", b"unknown", b"x" * 255])
frames = st.lists(
    st.one_of(
        st.builds(frame, st.sampled_from([0, 1]), ids, st.binary(min_size=1, max_size=40)),
        st.builds(frame, st.just(END), ids),
    ),
    max_size=12,
)
broken = st.sampled_from([b"", frame(0, b""), frame(1, b"known"), frame(2, b"", b"x"), frame(3, b"a"), b"\0\0\0\1a"])


@given(frames, broken, st.binary(max_size=8), st.lists(st.integers(0, 600), max_size=30), st.integers(1, 20))
def test_any_split_of_the_bytes_gives_the_same_result(
    made: list[bytes], bad: bytes, rest: bytes, cuts: list[int], most: int
) -> None:
    data = b"".join(made) + bad + rest
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]

    assert parsed(pieces, most) == parsed([data], 1000)
    assert parsed([bytes([byte]) for byte in data], most) == parsed([data], 1000)


def test_text_of_an_unfinished_frame_is_handed_on_as_it_comes() -> None:
    log = Recorder()
    parser = FrameParser({b"a": log})
    head = struct.pack(">IBB", 3 + 1_000_000, 0, 1) + b"a"

    parser.feed(head + b"x" * 10, 0, 1)
    assert log.text[0] == b"x" * 10

    for _ in range(10):
        parser.feed(b"y" * 1000, 0, 1)
    assert log.largest == 1000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (frame(0, b"a"), "empty log frame"),
        (frame(1, b""), "empty log frame"),
        (frame(7, b"a", b"x"), "that are no log frame"),
        (struct.pack(">IBB", 3, 0, 9) + b"a" * 9, "that are no log frame"),
        (struct.pack(">I", FRAME_LIMIT + 1), "are allowed"),
        (struct.pack(">I", 1), "are allowed"),
    ],
)
def test_bytes_that_are_no_frames_are_refused_with_a_sentence(data: bytes, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        FrameParser({}).feed(data, 0, 10)


def test_feed_stops_after_the_requested_number_of_frames() -> None:
    log = Recorder()
    data = frame(0, b"a", b"x") * 1000

    at, begun = FrameParser({b"a": log}).feed(data, 0, 10)

    assert (begun, log.text[0]) == (10, b"x" * 10)
    assert at == 10 * len(frame(0, b"a", b"x"))
