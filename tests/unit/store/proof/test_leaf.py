"""The leaf that seals an event, and the line from which the same bytes are read back."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.store.log.stored_row import LineInvalid, StoredRow, as_leaf, from_leaf, from_line, to_line

ROW = StoredRow(7, 1_764_000_000_123, "function:p:f", 3, "function.updated", b'{"a":1}')
ROWS = st.builds(
    StoredRow,
    st.integers(0, 2**62),
    st.integers(0, 2**53),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
    st.integers(1, 2**62),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.one_of(st.binary(max_size=60), st.sampled_from([b"{}", b'{"a": "\xc3\xa9"}', b"{\n}", b'{"state":{"x":[]}}'])),
)


def test_leaf_is_every_column_behind_its_lengths() -> None:
    head = struct.pack(">BQQQHHI", 1, 7, 1_764_000_000_123, 3, 12, 16, 7)

    assert as_leaf(ROW) == head + b"function:p:f" + b"function.updated" + b'{"a":1}'


@given(ROWS)
def test_leaf_gives_its_row_back(row: StoredRow) -> None:
    assert from_leaf(as_leaf(row)) == row


@given(ROWS)
def test_line_gives_its_row_back(row: StoredRow) -> None:
    line = to_line(row)

    assert b"\n" not in line
    assert from_line(line) == row


def test_state_stands_in_its_line_as_json() -> None:
    assert to_line(ROW).endswith(b',"state":{"a":1}}')


def test_columns_cannot_flow_into_each_other() -> None:
    assert as_leaf(ROW._replace(stream="ab", topic="c")) != as_leaf(ROW._replace(stream="a", topic="bc"))


@pytest.mark.parametrize("leaf", [b"", as_leaf(ROW)[:-1], as_leaf(ROW) + b"x", b"\x02" + as_leaf(ROW)[1:]])
def test_bytes_that_are_no_leaf_are_refused(leaf: bytes) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        from_leaf(leaf)


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", to_line(ROW)[:-1], b'{"position":"1"}'])
def test_invalid_lines_are_refused(line: bytes) -> None:
    with pytest.raises(LineInvalid):
        from_line(line)
