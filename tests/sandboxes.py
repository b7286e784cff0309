"""What an executor's sandboxes are made of on the host: folders, groups of the kernel, mounts and processes."""

import contextlib
import hashlib
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from annals.executor.drivers.sandbox import FIRST_UID


def kept(data: Path) -> set[str]:
    """The ids of the instances that have a folder below an executor's data folder."""
    return {entry.name for entry in (data / "work" / "i").glob("*")}


def group(data: Path) -> str:
    """What the kernel's groups of an executor lie in."""
    return f"annals-{hashlib.sha256(os.fsencode(data / 'work')).hexdigest()[:12]}"


def beyond(data: Path, ids: set[str]) -> list[str]:
    """What else there is of an executor: builds, mounts, and groups of none of these instances."""
    work = data / "work"
    found = [str(path) for path in (work / "b").glob("*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if f" {work}/" in line]
    for folder in Path("/sys/fs/cgroup").rglob(group(data)):
        found += [str(entry) for entry in folder.iterdir() if entry.is_dir() and entry.name not in ids]
    return found


def left_by(data: Path) -> list[str]:
    """What an executor that has stopped has left, and was not to."""
    return [f"the instance {one}" for one in sorted(kept(data))] + beyond(data, set())


def groups_of(data: Path) -> list[str]:
    """The kernel's folders that an executor makes groups in: none once it has stopped in order."""
    return [str(folder) for folder in Path("/sys/fs/cgroup").rglob(f"{group(data)}*")]


class Process(NamedTuple):
    """Of a sandbox; `keeper` is its executor, or who adopted it once that was gone, and `groups` the kernel's."""

    pid: int
    user: int
    keeper: int
    groups: str


def processes() -> Iterator[Process]:
    """Those of all sandboxes on this machine, known by their users."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            user = folder.stat().st_uid
            if user >= FIRST_UID:
                keeper = _parent(int(folder.name))
                while keeper > 1 and Path(f"/proc/{keeper}").stat().st_uid >= FIRST_UID:
                    keeper = _parent(keeper)
                yield Process(int(folder.name), user, keeper, (folder / "cgroup").read_text())


def strays(*data: Path) -> Iterator[str]:
    """Processes that one of these executors, or one that is not known, has left to a supervisor or to nobody."""
    own = {group(one) for one in data}
    for one in processes():
        with contextlib.suppress(OSError):
            known = set(re.findall(r"annals-[0-9a-f]{12}", one.groups))
            if (not known or known & own) and (one.keeper <= 1 or b"\0up\0" in _command(one.keeper)):
                yield f"process {one.pid} of {one.user} without its executor: {_command(one.pid)!r}"


def listener(url: str) -> int:
    """The process that listens at a `unix:` address."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(url.removeprefix("unix:"))
        told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", told)[0])


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
