"""Stored states of executions: compressed, equal when read, and refused when altered."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import annals.store.log
from annals.store.errors import UnreadableEvent
from annals.store.log.compact_states import LONGEST, compact, plain, plain_or_altered
from annals.store.log.mapper import EventMapper
from bench.states import states

RELEASED = {"1.dict": "753b03fb7ab6a8017d0d614b9e197472407aaebbf8e798192ba1b3a117348aef"}
UNSEEN = states(300, seed=9)
"""What the dictionary did not learn from."""


@given(st.binary(max_size=2000).map(lambda rest: b"{" + rest))
def test_every_state_is_read_as_it_was(state: bytes) -> None:
    stored = compact(state)

    assert len(stored) <= len(state)
    assert plain(stored) == state


def test_states_of_executions_are_stored_in_a_third_at_most() -> None:
    assert all(plain(compact(state)) == state for state in UNSEEN)
    assert sum(len(compact(state)) for state in UNSEEN) * 3 < sum(map(len, UNSEEN))


def test_plain_states_of_before_are_still_read() -> None:
    assert [plain(state) for state in UNSEEN] == UNSEEN


def test_dictionaries_that_were_released_are_as_they_were() -> None:
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files(annals.store.log).iterdir()
        if file.name.endswith(".dict")
    }

    assert found == RELEASED


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"", b"[]", b" {}", b"\x01", b"\x01\x20", b"\x00" * 40, b"\xff" * 40, b"\x02" + compact(UNSEEN[0])[1:]),
        *(compact(UNSEEN[0])[:-1], compact(UNSEEN[0]) + b" ", compact(UNSEEN[0]) * 2, zstandard.compress(UNSEEN[0])),
        compact(b"x" * 200),
    ],
)
def test_garbage_is_refused_as_such(garbage: bytes) -> None:
    with pytest.raises(UnreadableEvent):
        plain(garbage)
    assert plain_or_altered(garbage) == garbage


def test_changed_bit_is_noticed_or_changes_nothing() -> None:
    """Two encodings of one state exist, since a match may refer to two positions."""
    state = UNSEEN[0]
    stored = compact(state)
    said = 0
    for bit in range(8 * len(stored)):
        changed = bytearray(stored)
        changed[bit // 8] ^= 1 << bit % 8
        said += plain_or_altered(bytes(changed)) == state

    assert said < 8


def test_long_states_stay_plain_and_a_frame_that_claims_to_be_longer_is_not_unpacked() -> None:
    long = b"{" + b" " * LONGEST
    packed = zstandard.ZstdCompressor(
        dict_data=zstandard.ZstdCompressionDict(files(annals.store.log).joinpath("1.dict").read_bytes()),
        write_dict_id=False,
    ).compress(long)

    assert compact(long) is long
    assert plain(compact(long[:-1])) == long[:-1]
    with pytest.raises(UnreadableEvent, match="neither"):
        plain(b"\x01" + packed[4:])


def test_threads_do_not_disturb_each_other() -> None:
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda state: plain(compact(state)), UNSEEN * 5)) == UNSEEN * 5


def test_only_executions_are_compressed_and_only_once_all_can_read_it() -> None:
    mapper = EventMapper()
    before = mapper.stored("execution.requested", UNSEEN[0])
    mapper.compacts = True

    assert before == UNSEEN[0]
    assert mapper.stored("project.created", UNSEEN[0]) == UNSEEN[0]
    assert mapper.stored("execution.requested", UNSEEN[0]) == compact(UNSEEN[0]) != UNSEEN[0]
