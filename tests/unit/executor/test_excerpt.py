"""An excerpt is whole up to the limit; beyond it, it has the first and last part, for any cut of the output."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annals.executor.logs import excerpt
from annals.executor.logs.excerpt import FIRST_BYTES, KEPT_BYTES, Excerpt, notice


def text_of(*pieces: bytes) -> str:
    taken = Excerpt()
    return "".join([*map(taken.add, pieces), taken.end()])


def lines(number: int, end: str = "\n") -> bytes:
    return "".join(f"line {n:06}{end}" for n in range(number)).encode()


def test_output_of_exactly_the_bound_is_whole_after_line_ends_are_plain() -> None:
    printed = b"x" * 99 + b"\r\n"
    assert text_of(*[printed] * (KEPT_BYTES // 100)) == ("x" * 99 + "\n") * (KEPT_BYTES // 100)


def test_longer_output_keeps_its_first_and_last_part_and_one_line_counts_the_rest() -> None:
    printed = lines(500_000)
    text = text_of(printed)
    first, left_out, last = re.fullmatch(r"(.*\n)… ([\d,]+) bytes left out …\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]

    assert printed.startswith(first.removesuffix("\n").encode())
    assert printed.endswith(last.encode())
    assert last.endswith("line 499999\n")
    assert len(text.encode()) <= KEPT_BYTES
    assert KEPT_BYTES - len(text.encode()) <= 1_000
    assert FIRST_BYTES + int(left_out.replace(",", "")) + len(last.encode()) == len(printed)


def test_first_part_is_shown_at_once_and_the_last_part_at_the_end() -> None:
    taken = Excerpt()
    assert taken.add(b"a" * FIRST_BYTES + b"b") == "a" * FIRST_BYTES
    assert taken.add(b"c") == ""
    assert taken.end() == "bc"


def test_ending_twice_adds_nothing() -> None:
    taken = Excerpt()
    taken.add(b"x" * 3 * KEPT_BYTES)
    assert taken.end()
    assert taken.end() == ""


def test_memory_is_bounded_however_long_the_output() -> None:
    taken = Excerpt()
    for _ in range(100):
        taken.add(b"x" * KEPT_BYTES)
    assert len(taken._rest) <= 2 * KEPT_BYTES
    assert notice(99_000_000 + 1_000) in taken.end()


PIECES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"ab", "é😀".encode(), b"\xf0\x9f", b"\xff", b"0123456789"]))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that short texts exceed."""
    for name, value in {"KEPT_BYTES": 60, "FIRST_BYTES": 20, "_LAST_BYTES": 10}.items():
        monkeypatch.setattr(excerpt, name, value)


@pytest.mark.usefixtures("small")
@given(pieces=PIECES, cuts=st.lists(st.integers(0, 400)))
@settings(max_examples=1000, deadline=None)
def test_result_depends_on_the_bytes_and_not_on_how_they_were_cut(pieces: list[bytes], cuts: list[int]) -> None:
    printed = b"".join(pieces)
    positions = sorted({0, *(cut for cut in cuts if cut < len(printed)), len(printed)})
    cut_up = [printed[start:end] for start, end in itertools.pairwise(positions)]
    plain = printed.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    text = text_of(*cut_up)

    assert text == text_of(printed) == text_of(*(bytes([byte]) for byte in printed))
    assert text == (plain if len(plain.encode()) <= 60 else shortened(plain.encode()))


def shortened(plain: bytes) -> str:
    """Return the excerpt of a text that is too long for the small limits."""
    first, last = (part.decode(errors="ignore") for part in (plain[:20], plain[-10:]))
    left_out = len(plain) - len(first.encode()) - len(last.encode())
    return first + ("" if first.endswith("\n") else "\n") + notice(left_out) + last
