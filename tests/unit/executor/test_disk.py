"""Deleted files, mappings and files in transit between processes count; failed measurements do not end the watch."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.isolation import disk
from annals.executor.isolation.disk import DiskBound, Meter, OpenFileUsage, open_file_usage, watch
from annals.executor.isolation.limits import processes

SIZE = 3_000_000

OPEN = """
import ctypes, mmap, os, socket, sys, threading
os.chdir(sys.argv[1])
def written(name="file"):
    handle = os.open(name, os.O_RDWR | os.O_CREAT)
    os.write(handle, os.urandom(3_000_000))
    os.unlink(name)
    return handle
def mapped(handle):  # Python's own mapping keeps a handle of the file
    mmap = ctypes.CDLL(None).mmap
    mmap.restype = ctypes.c_void_p
    return mmap(None, ctypes.c_size_t(4096), 3, 1, handle, ctypes.c_long(0))
"""
DUMPABLE = "ctypes.CDLL(None).prctl(4, 1)"
"""A change of user closes a process to others, until it says otherwise."""

HOW = {
    "deleted": "held = written()",
    "mapped": "held = written(); mapping = mapped(held); os.close(held)",
    "deleted by a child": "held = written()\nif os.fork(): os.close(held); os.wait()\nelse: os.setsid()",
    "opened twice": "held = written(); again = os.dup(held)",
}
"""Ways to keep a file without a name open."""


@contextmanager
def running(folder: Path, code: str) -> Iterator[int]:
    """A process that ran a program and goes on; its id."""
    program = f"{OPEN}{code}\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        try:
            yield process.pid
        finally:
            for found in list(processes(process.pid)):
                os.kill(found, signal.SIGKILL)


@pytest.mark.parametrize("how", HOW)
def test_deleted_files_that_are_held_open_count_once(tmp_path: Path, how: str) -> None:
    with running(tmp_path, HOW[how]) as process:
        held = open_file_usage(processes(process))

    assert os.listdir(tmp_path) == []
    assert held.whole
    assert SIZE <= held.occupied < SIZE + 100_000


def test_files_on_their_way_between_processes_make_a_look_incomplete(tmp_path: Path) -> None:
    send = "one, other = socket.socketpair(); socket.send_fds(one, [b'x'], [held := written()]); os.close(held)"
    with running(tmp_path, send) as process:
        assert open_file_usage(processes(process)) == OpenFileUsage(0, whole=False)
    receive = f"{send}; received = socket.recv_fds(other, 1, 1)"
    with running(tmp_path, receive) as process:
        held = open_file_usage(processes(process))

    assert held.whole
    assert held.occupied >= SIZE


def test_handles_of_one_thread_count_too(tmp_path: Path) -> None:
    code = """
ready = threading.Event()
def alone():
    assert ctypes.CDLL(None).unshare(0x400) == 0
    global held
    held = written()
    ready.set()
    threading.Event().wait()
threading.Thread(target=alone, daemon=True).start()
ready.wait()
"""
    with running(tmp_path, code) as process:
        assert open_file_usage(processes(process)).occupied >= SIZE


def test_files_in_memory_are_not_on_the_disk(tmp_path: Path) -> None:
    code = "held = os.memfd_create('x'); os.write(held, bytes(3_000_000)); shared = mmap.mmap(-1, 3_000_000)"
    with running(tmp_path, code) as process:
        assert open_file_usage(processes(process)) == OpenFileUsage(0, whole=True)


UNPRIVILEGED = """
import os, sys
from annals.executor.isolation.disk import open_file_usage
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print(*open_file_usage([int(sys.argv[1])]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can become another user.")
@pytest.mark.parametrize(
    ("code", "whole"),
    [
        ("held = written()", "True"),
        (HOW["mapped"], "False"),
        ("held = written(); ctypes.CDLL(None).prctl(4, 0)", "False"),
    ],
    ids=["deleted", "mapped", "closed to others"],
)
def test_measurements_without_root_report_unseen_parts(code: str, whole: str) -> None:
    with TemporaryDirectory(prefix="disk-", dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        become = f"os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534); {DUMPABLE}\n{code}"
        with running(Path(folder), become) as process:
            command = [sys.executable, "-c", UNPRIVILEGED, str(process)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
    occupied, seen = done.stdout.split()

    assert seen == whole
    assert (int(occupied) >= SIZE) == (whole == "True")


def test_measurements_of_open_files_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "OPEN_FILES_SECONDS", -1.0)
    with running(tmp_path, "held = written()") as process:
        assert not open_file_usage(processes(process)).whole


def test_processes_that_have_ended_hold_nothing() -> None:
    assert open_file_usage([2**22 + 1]) == OpenFileUsage(0, whole=True)


def test_unseen_files_count_by_the_space_that_the_file_system_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = 1_000_000
    monkeypatch.setattr(disk, "_used", lambda _: used)
    held = OpenFileUsage(500, whole=True)
    meter = Meter(tmp_path, lambda: held)
    used += 50_000  # others write, and all of it can be seen
    meter.look()
    assert meter.occupied == 500
    held = OpenFileUsage(0, whole=False)
    used += 2_000_000
    meter.look()

    assert meter.occupied == 500 + 2_000_000


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LOOK_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("failure", [OSError, RecursionError, MemoryError, ValueError])
async def test_failed_measurements_do_not_end_the_watch(tmp_path: Path, failure: type[Exception]) -> None:
    answers: Iterator[Exception | OpenFileUsage] = iter([failure(), failure(), OpenFileUsage(2_000)])

    def held() -> OpenFileUsage:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    ended = asyncio.Event()

    async def exceeded() -> None:
        ended.set()

    async with asyncio.timeout(30):
        await watch(Meter(tmp_path, held), DiskBound(1_000), exceeded, 0.01)

    assert ended.is_set()


@pytest.mark.usefixtures("quick")
async def test_folders_of_too_many_entries_are_over_their_bound(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).touch()
    meter = Meter(tmp_path, OpenFileUsage)
    ended = asyncio.Event()

    async def exceeded() -> None:
        ended.set()

    async with asyncio.timeout(30):
        await watch(meter, DiskBound(10**9, entries=19), exceeded, 0.01)

    assert ended.is_set()
