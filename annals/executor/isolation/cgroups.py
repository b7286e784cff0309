"""Kernel limits by control groups, version 1 or 2, below the group of this process."""

import functools
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from annals.domain.ports import Limits

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
RESOURCES = ("memory", "cpu", "pids")


class ControlGroup(Protocol):
    """The limits of one sandbox. A process joins by writing `0` to the files in `entries`."""

    entries: tuple[str, ...]

    def bound(self, limits: Limits) -> None:
        """Change the limits. Raises OSError."""
        ...

    def defer(self, *, deferred: bool) -> None:
        """Give its processes only the processor time that no other process wants, or equal time again.

        Without effect where the kernel has no such groups (before Linux 5.15).
        """
        ...

    def out_of_memory(self) -> bool: ...
    def kill(self) -> None: ...
    def remove(self) -> None: ...


class Hierarchy(Protocol):
    """The parent of control groups. `resources` are those that the kernel can limit here."""

    resources: frozenset[str]

    def create(self, name: str, limits: Limits, pids: int) -> ControlGroup: ...

    def clear(self) -> None:
        """Kill and remove groups that an earlier process left."""
        ...

    def close(self) -> None:
        """Remove every group and their parent."""
        ...


class FolderGroup:
    """The folders of one group: one in version 2, one for each controller in version 1."""

    def __init__(
        self, folders: Iterable[Path], oom: Path | None, bound: Callable[[Limits], None] = lambda _: None
    ) -> None:
        self._folders = tuple(folders)
        self._oom = oom
        self.bound = bound
        self.entries = tuple(str(folder / "cgroup.procs") for folder in self._folders)

    def defer(self, *, deferred: bool) -> None:
        for folder in self._folders:
            _write(folder / "cpu.idle", "1" if deferred else "0", optional=True)

    def out_of_memory(self) -> bool:
        """Return True if the kernel has killed a process of the group at its memory limit."""
        if self._oom is None:
            return False
        try:
            lines = self._oom.read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def kill(self) -> None:
        for folder in self._folders:
            for pid in _read(folder / "cgroup.procs").split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def remove(self) -> None:
        for folder in self._folders:
            _remove(folder)


class Version1:
    """Separate mounts for each controller; a group is a folder of the same name in each."""

    def __init__(self, parents: dict[str, Path]) -> None:
        self._parents = parents
        self.resources = frozenset(parents)

    def create(self, name: str, limits: Limits, pids: int) -> ControlGroup:
        folders = {resource: parent / name for resource, parent in self._parents.items()}
        for folder in folders.values():
            folder.mkdir(exist_ok=True)
        memory, cpu = folders.get("memory"), folders.get("cpu")
        bound = functools.partial(_bound1, memory, cpu)
        bound(limits)
        if processes := folders.get("pids"):
            _write(processes / "pids.max", str(pids))
        return FolderGroup(folders.values(), memory / "memory.oom_control" if memory else None, bound)

    def clear(self) -> None:
        for parent in self._parents.values():
            _clear(parent)

    def close(self) -> None:
        self.clear()
        for parent in self._parents.values():
            _remove(parent)


class Version2:
    """The unified tree: one folder for each group, with controllers that are enabled in the parent."""

    def __init__(self, parent: Path, resources: frozenset[str], leaf: Path | None = None) -> None:
        self._parent = parent
        self._leaf = leaf
        self.resources = resources

    def create(self, name: str, limits: Limits, pids: int) -> ControlGroup:
        folder = self._parent / name
        folder.mkdir(exist_ok=True)
        bound = functools.partial(_bound2, folder, self.resources)
        bound(limits)
        if "memory" in self.resources:
            _write(folder / "memory.swap.max", "0", optional=True)
            _write(folder / "memory.oom.group", "1", optional=True)
        if "pids" in self.resources:
            _write(folder / "pids.max", str(pids))
        return FolderGroup([folder], folder / "memory.events" if "memory" in self.resources else None, bound)

    def clear(self) -> None:
        _clear(self._parent)

    def close(self) -> None:
        """Remove all groups, and move this process out of its own leaf unless other groups prevent it."""
        self.clear()
        _remove(self._parent)
        if self._leaf is None or str(os.getpid()) not in _read(self._leaf / "cgroup.procs").split():
            return
        with suppress(OSError):
            base = self._leaf.parent
            _write(base / "cgroup.subtree_control", " ".join(f"-{name}" for name in sorted(self.resources)))
            _write(base / "cgroup.procs", str(os.getpid()))
            _remove(self._leaf)


def _bound1(memory: Path | None, cpu: Path | None, limits: Limits) -> None:
    """Set limits in version 1. The limit without swap must never exceed the limit with swap, also in between."""
    if memory:
        size = str(limits.memory_mb * 1024 * 1024)
        _write(memory / "memory.memsw.limit_in_bytes", "-1", optional=True)  # absent without swap accounting
        _write(memory / "memory.limit_in_bytes", size)
        _write(memory / "memory.memsw.limit_in_bytes", size, optional=True)
    if cpu:
        _write(cpu / "cpu.cfs_period_us", str(PERIOD_US))
        quota = str(int(limits.cpus * PERIOD_US))
        _write(cpu / "cpu.cfs_quota_us", quota, optional=True)  # fails above our own group's limit, which applies then


def _bound2(folder: Path, resources: frozenset[str], limits: Limits) -> None:
    if "memory" in resources:
        _write(folder / "memory.max", str(limits.memory_mb * 1024 * 1024))
    if "cpu" in resources:
        _write(folder / "cpu.max", f"{int(limits.cpus * PERIOD_US)} {PERIOD_US}")


def find(work: Path, root: Path = ROOT, membership: Path = Path("/proc/self/cgroup")) -> Hierarchy | None:
    """Return the hierarchy in which this process may create groups, or None. The work folder determines its name."""
    name = f"annals-{hashlib.sha256(os.fsencode(work)).hexdigest()[:12]}"
    own = {tuple(sorted(controllers.split(","))): path for _, controllers, path in _membership(membership)}
    if (root / "cgroup.controllers").exists():
        return _version2(root, own.get(("",), "/"), name)
    parents = {}
    for resource in RESOURCES:
        path = next((path for controllers, path in own.items() if resource in controllers), "/")
        mounted = next((m for m in root.glob("*") if resource in m.name.split(",") and m.is_dir()), None)
        if mounted and (parent := _made(mounted, path, name)):
            parents[resource] = parent
    return Version1(parents) if parents else None


def _membership(file: Path) -> list[tuple[str, str, str]]:
    lines = (line.split(":", 2) for line in _read(file).splitlines())
    return [(number, controllers, path) for number, controllers, path in lines]


def _made(mounted: Path, path: str, name: str) -> Path | None:
    """Create our parent folder below this process's group, or below the mount's root if the group is not visible."""
    for base in (mounted / path.lstrip("/"), mounted):
        try:
            (base / name).mkdir(exist_ok=True)
        except OSError:
            continue
        return base / name
    return None


def _version2(root: Path, path: str, name: str) -> Hierarchy | None:
    """Find a parent. A group contains processes or groups, not both: move this process to a leaf if it is alone."""
    for base in (root / path.lstrip("/"), root):
        parent, leaf = base / name, base / f"{name}-executor"
        try:
            parent.mkdir(exist_ok=True)
            if not _delegate(base) and _read(base / "cgroup.procs").split() == [str(os.getpid())]:
                leaf.mkdir(exist_ok=True)
                _write(leaf / "cgroup.procs", str(os.getpid()))
                _delegate(base)
            resources = _delegate(parent)
        except OSError:
            continue
        if resources:
            return Version2(parent, resources, leaf if leaf.exists() else None)
        _remove(parent)
    return None


def _delegate(folder: Path) -> frozenset[str]:
    """Enable the folder's controllers for its children; return the enabled resources."""
    on = set(_read(folder / "cgroup.subtree_control").split())
    for resource in set(RESOURCES) & set(_read(folder / "cgroup.controllers").split()) - on:
        _write(folder / "cgroup.subtree_control", f"+{resource}", optional=True)
    return frozenset(RESOURCES) & frozenset(_read(folder / "cgroup.subtree_control").split())


def _clear(parent: Path) -> None:
    for folder in [path for path in parent.glob("*") if path.is_dir()]:
        group = FolderGroup([folder], None)
        group.kill()
        group.remove()


def _remove(folder: Path) -> None:
    """Remove a group's folder; the kernel allows it only a moment after the last process has ended."""
    for _ in range(50):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return


def _write(file: Path, text: str, *, optional: bool = False) -> None:
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        if optional:
            return
        raise
    try:
        os.write(fd, text.encode())
    except OSError:
        if not optional:
            raise
    finally:
        os.close(fd)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
