"""What holds after whatever happened: nothing lost, nothing doubled, nothing left behind."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from annals.executor.drivers.sandbox import FIRST_UID
from annals.store import sql
from tests.instance import AnnalsInstance, annals, eventually

QUERIES = sql.load(__package__, "invariants.sql")
QUIET_SECONDS = 90
"""So long after the last call nothing is under way, and nothing of what was is left; three times what is promised,
since a machine may be slower."""

COMMANDS = (("replay", "--check"), ("verify",))
COMMAND_SECONDS = 150.0


def hold(
    instance: AnnalsInstance,
    *,
    executor: Path | None = None,
    blobs: Path | None = None,
    reading_seconds: float = COMMAND_SECONDS,
) -> None:
    """Check all of it. `executor` is the data folder of the executor and `blobs` the store's, where the instance
    has them elsewhere; `reading_seconds` is how long the commands may take that go through the whole log."""
    deadline = time.monotonic() + QUIET_SECONDS
    settled(instance)
    _commands(instance, max(deadline - time.monotonic(), 1), reading_seconds)
    places = executor or instance.data, blobs or instance.data / "blobs"
    while (found := leftovers(*places)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == []


def settled(instance: AnnalsInstance) -> None:
    """Everything has ended, once, and was counted, or does within the quiet time."""
    deadline = time.monotonic() + QUIET_SECONDS

    def left() -> float:
        return max(deadline - time.monotonic(), 1)

    with psycopg.connect(instance.database_url, autocommit=True, row_factory=dict_row) as conn:
        eventually(lambda: _none(conn, "open"), left(), explain=lambda: _rows(conn, "open"))
        assert _rows(conn, "gaps") == [], "a stream's versions have gaps"
        assert _rows(conn, "execution_ends") == [], "executions that did not end exactly once"
        assert _rows(conn, "build_ends") == [], "builds that did not end exactly once"
        assert _rows(conn, "stopped") == [], "followers stand still"
        eventually(lambda: _none(conn, "usage"), left(), explain=lambda: _rows(conn, "usage"))


def _rows(conn: psycopg.Connection[dict[str, Any]], query: str) -> list[dict[str, Any]]:
    return conn.execute(QUERIES[query].encode()).fetchall()


def _none(conn: psycopg.Connection[dict[str, Any]], query: str) -> bool:
    return not _rows(conn, query)


def _commands(instance: AnnalsInstance, seconds: float, reading: float) -> None:
    """Rebuilt read models equal the live ones, and the log is what was sealed."""
    with ThreadPoolExecutor(2) as both:
        for one in [both.submit(_succeeds, instance, (seconds, reading), words) for words in COMMANDS]:
            one.result()


def _succeeds(instance: AnnalsInstance, within: tuple[float, float], words: Sequence[str]) -> None:
    """Run a command until it ends well, which a moment after the last event it does; each run has its own time."""
    deadline, reading = time.monotonic() + within[0], within[1]
    while True:
        done = annals(*words, "--json", "--data", str(instance.data), seconds=reading)
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(0.2)


def leftovers(data: Path, blobs: Path) -> list[str]:
    """What runs, is mounted or lies around beyond the executor's warm instances."""
    work = data / "work"
    warm = {entry.name for entry in (work / "i").glob("*")}
    found = [str(path) for path in (work / "b").glob("*")]
    found += [str(path) for path in (blobs / ".partial").glob("*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(work) in line]
    group = f"annals-{hashlib.sha256(os.fsencode(work)).hexdigest()[:12]}"
    for folder in Path("/sys/fs/cgroup").rglob(group):
        found += [str(entry) for entry in folder.iterdir() if entry.is_dir() and entry.name not in warm]
    return found + [f"sandboxed process {pid} without its executor" for pid in _strays()]


def _strays() -> Iterator[int]:
    """Processes of sandboxes' users whose executor is gone: adopted by a supervisor, or by nobody."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if folder.stat().st_uid >= FIRST_UID:
                keeper = _parent(int(folder.name))
                while keeper > 1 and Path(f"/proc/{keeper}").stat().st_uid >= FIRST_UID:
                    keeper = _parent(keeper)
                if keeper <= 1 or b"\0up\0" in Path(f"/proc/{keeper}/cmdline").read_bytes():
                    yield int(folder.name)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def executions(instance: AnnalsInstance) -> dict[str, int]:
    """How many executions were accepted, and how they ended, by the log."""
    with psycopg.connect(instance.database_url, row_factory=dict_row) as conn:
        return {row["topic"]: row["number"] for row in conn.execute(QUERIES["counts"].encode())}


def rows_of_functions(instance: AnnalsInstance) -> list[dict[str, Any]]:
    """How many rows each function has, by table."""
    with psycopg.connect(instance.database_url, row_factory=dict_row) as conn:
        return conn.execute(QUERIES["rows_of_functions"].encode()).fetchall()


def functions_with_rows(instance: AnnalsInstance) -> set[str]:
    return {str(row["function_id"]) for row in rows_of_functions(instance)}
