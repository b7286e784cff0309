"""The traces of an executor's sandboxes on the host: folders, control groups, mounts and processes."""

import contextlib
import fnmatch
import hashlib
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from annals.executor.drivers.sandbox import FIRST_UID


def instance_ids(data: Path) -> set[str]:
    """Return the ids of the instances that have a folder in an executor's data folder."""
    return {entry.name for entry in (data / "work" / "i").glob("*")}


def group(data: Path) -> str:
    """Return the name of the folder that holds an executor's control groups."""
    return f"annals-{hashlib.sha256(os.fsencode(data / 'work')).hexdigest()[:12]}"


def beyond(data: Path, ids: set[str]) -> list[str]:
    """Return an executor's builds, mounts and control groups that belong to none of these instances."""
    work = data / "work"
    found = [str(path) for path in (work / "b").glob("*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if f" {work}/" in line]
    for folder in _control_groups(group(data)):
        found += [str(entry) for entry in folder.iterdir() if entry.is_dir() and entry.name not in ids]
    return found


def _control_groups(pattern: str) -> Iterator[Path]:
    """Yield the control group folders of a name; folders of other processes may disappear during the walk."""
    for parent, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (Path(parent, name) for name in fnmatch.filter(names, pattern))


def left_by(data: Path) -> list[str]:
    """Return everything that a stopped executor has left behind."""
    return [f"the instance {name}" for name in sorted(instance_ids(data))] + beyond(data, set())


def groups_of(data: Path) -> list[str]:
    """Return the control group folders of an executor; an orderly stop removes them."""
    return [str(folder) for folder in _control_groups(f"{group(data)}*")]


class Process(NamedTuple):
    """A sandbox process. `executor` is the pid of its executor, or of the process that adopted it."""

    pid: int
    user: int
    executor: int
    groups: str


def processes() -> Iterator[Process]:
    """Yield the processes of all sandboxes on this machine; their user ids identify them."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            user = folder.stat().st_uid
            if user >= FIRST_UID:
                executor = _parent(int(folder.name))
                while executor > 1 and Path(f"/proc/{executor}").stat().st_uid >= FIRST_UID:
                    executor = _parent(executor)
                yield Process(int(folder.name), user, executor, (folder / "cgroup").read_text())


def strays(*data: Path) -> Iterator[str]:
    """Yield sandbox processes of these executors, or of unknown ones, that a supervisor or init has adopted."""
    own = {group(folder) for folder in data}
    for process in processes():
        with contextlib.suppress(OSError):
            known = set(re.findall(r"annals-[0-9a-f]{12}", process.groups))
            if (not known or known & own) and (process.executor <= 1 or b"\0up\0" in _command(process.executor)):
                yield f"process {process.pid} of {process.user} without its executor: {_command(process.pid)!r}"


def listener(url: str) -> int:
    """Return the pid of the process that listens at a `unix:` address."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(url.removeprefix("unix:"))
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
