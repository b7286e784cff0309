"""Child processes: backoff, their lines of output, and the check that a pid is still the same process."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.supervisor.children import FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, STEADY_SECONDS, Backoff, children_of
from annals.supervisor.folders import start_ticks
from annals.supervisor.lines import LONGEST, Lines, as_words, json_entry
from annals.supervisor.programs import Role


def test_backoff_grows_up_to_a_bound() -> None:
    backoff = Backoff()

    waits = [backoff.after(0.0) for _ in range(10)]

    assert waits == sorted(waits)
    assert waits[0] == FIRST_WAIT_SECONDS
    assert waits[-1] == LONGEST_WAIT_SECONDS
    assert backoff.early_ends == backoff.restarts == 10


def test_backoff_resets_after_a_steady_run() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(0.0)

    assert backoff.after(STEADY_SECONDS) == FIRST_WAIT_SECONDS
    assert backoff.early_ends == 1
    assert backoff.restarts == 6


async def heard(*pieces: bytes) -> list[str]:
    lines: list[str] = []
    reading, writing = os.pipe()
    reader = Lines(reading, lines.append)
    for piece in pieces:
        await asyncio.to_thread(os.write, writing, piece)
    os.close(writing)
    while reader._descriptor >= 0:
        await asyncio.sleep(0.001)
    return lines


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_lines_do_not_depend_on_chunk_boundaries(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    expected = [line.decode("utf-8", "replace") for line in whole.split(b"\n") if line]

    assert asyncio.run(heard(*pieces)) == expected


async def test_endless_line_is_cut_and_the_next_line_is_read() -> None:
    lines = await heard(b"x" * (3 * LONGEST), b"rest\nnext\n")

    assert all(len(line) <= 2 * LONGEST for line in lines)
    assert lines[-1] == "next"


def test_process_is_identified_by_its_start_time() -> None:
    assert start_ticks(os.getpid()) == start_ticks(os.getpid())
    assert start_ticks(2**22 + 1) is None
    assert os.getpid() in children_of(os.getppid())


def test_only_json_objects_are_entries() -> None:
    assert json_entry('{"event": "x"}') == {"event": "x"}
    assert json_entry("{broken") is None
    assert json_entry('{"event": ' + "[" * 20_000) is None
    assert json_entry("text") is None
    assert as_words('{"event": "ended", "reason": "no disk", "level": "critical"}') == "ended: no disk"
    assert as_words("FATAL:  no disk") == "FATAL:  no disk"


def test_executor_gets_no_database_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNALS_DATABASE_URL", "postgresql://from-outside")
    settings = {
        "ANNALS_DATABASE_URL": "postgresql://x",
        "ANNALS_REDIS_URL": "redis://x",
        "ANNALS_BLOBS_URL": "file:///b",
    }

    executor = Role("executor", settings, "/notify").launch().environment
    worker = Role("worker", settings, "/notify", number=2).launch().environment

    assert executor["ANNALS_DATABASE_URL"] == executor["ANNALS_REDIS_URL"] == executor["ANNALS_MASTER_KEY_FILE"] == ""
    assert executor["ANNALS_BLOBS_URL"] == "file:///b"
    assert worker["ANNALS_DATABASE_URL"] == "postgresql://x"
    assert worker["NOTIFY_SOCKET"] == "/notify"
