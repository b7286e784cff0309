"""What an executor's sandboxes are made of on the host: folders, groups of the kernel, mounts and processes."""

import contextlib
import hashlib
import os
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from annals.executor.drivers.sandbox import FIRST_UID


def kept(data: Path) -> set[str]:
    """The ids of the instances that have a folder below an executor's data folder."""
    return {entry.name for entry in (data / "work" / "i").glob("*")}


def beyond(data: Path, ids: set[str]) -> list[str]:
    """What else there is of an executor: builds, mounts, and groups of none of these instances."""
    work = data / "work"
    found = [str(path) for path in (work / "b").glob("*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if f" {work}/" in line]
    group = f"annals-{hashlib.sha256(os.fsencode(work)).hexdigest()[:12]}"
    for folder in Path("/sys/fs/cgroup").rglob(group):
        found += [str(entry) for entry in folder.iterdir() if entry.is_dir() and entry.name not in ids]
    return found


def left_by(data: Path) -> list[str]:
    """What an executor that has stopped has left, and was not to."""
    return [f"the instance {one}" for one in sorted(kept(data))] + beyond(data, set())


def users_by_keeper() -> dict[int, set[int]]:
    """The users of sandboxes' processes by who keeps them: their executor, or who adopted them once it was gone."""
    found: dict[int, set[int]] = defaultdict(set)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            user = folder.stat().st_uid
            if user >= FIRST_UID:
                keeper = _parent(int(folder.name))
                while keeper > 1 and Path(f"/proc/{keeper}").stat().st_uid >= FIRST_UID:
                    keeper = _parent(keeper)
                found[keeper].add(user)
    return found


def strays() -> Iterator[str]:
    """Sandboxes whose executor is gone: adopted by a supervisor, or by nobody."""
    for keeper, users in users_by_keeper().items():
        with contextlib.suppress(OSError):
            if keeper <= 1 or b"\0up\0" in Path(f"/proc/{keeper}/cmdline").read_bytes():
                yield f"processes of {sorted(users)} without their executor"


def listener(url: str) -> int:
    """The process that listens at a `unix:` address."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(url.removeprefix("unix:"))
        told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", told)[0])


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
