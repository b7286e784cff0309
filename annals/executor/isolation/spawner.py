"""Starts processes from a separate thread, so that forking never blocks the event loop.

As root the thread also has its own mount namespace. Sandboxes run as unprivileged users, who may have no access to
folders above our files (such as a data folder below /root). In this namespace only, the files are mounted below STAGE.
The thread lives as long as the spawner: `--die-with-parent` kills sandboxes when it ends.
"""

import asyncio
import itertools
import os
import resource
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from annals.executor.isolation import kernel

T = TypeVar("T")

STAGE = "/run/annals"
OPEN_FILES = 65_536


class Spawn(msgspec.Struct, frozen=True, kw_only=True):
    """One process to start.

    `uid` 0 keeps the executor's own user. The process first writes `0` to the files in `joins`. `network` is the
    descriptor of its network namespace, -1 for the host's. `file_bytes` limits each file that it writes, 0 for none.
    """

    arguments: Sequence[str]
    output: int
    inherit: tuple[int, ...] = ()
    uid: int = 0
    joins: tuple[str, ...] = ()
    network: int = -1
    file_bytes: int = 0


class Spawner:
    """Owns the thread. `stage` returns the paths that sandboxed processes can mount."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spawner")
        self._staged: dict[Path, asyncio.Future[str]] = {}
        self._numbers = itertools.count()
        self.privileged = False

    async def open(self) -> None:
        self.privileged = await self.call(self._isolate)

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function in the spawner's thread, which sees its mounts."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def start(self, spawn: Spawn) -> "subprocess.Popen[bytes]":
        """Start a process with an empty environment. Raises OSError."""
        return await self.call(self._start, spawn)

    async def stage(self, path: Path) -> str:
        """Return the path by which an unprivileged child reaches `path`."""
        if not self.privileged:
            return str(path)
        if path not in self._staged:  # the number is taken before the first await: other tasks stage meanwhile
            target = f"{STAGE}/{next(self._numbers)}"
            self._staged[path] = asyncio.ensure_future(self.call(self._bind, path, target))
        try:
            return await asyncio.shield(self._staged[path])
        except OSError:
            self._staged.pop(path, None)
            raise

    @staticmethod
    def _isolate() -> bool:
        if os.geteuid() != 0:
            return False
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_SLAVE)
        Path(STAGE).mkdir(mode=0o755, exist_ok=True)
        kernel.mount("tmpfs", STAGE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0711,size=1m")
        return True

    @staticmethod
    def _bind(path: Path, target: str) -> str:
        if path.is_dir():
            Path(target).mkdir()
        else:
            Path(target).touch()
        kernel.mount(str(path), target, flags=kernel.MS_BIND | kernel.MS_REC)
        return target

    def _start(self, spawn: Spawn) -> "subprocess.Popen[bytes]":
        joins = [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in spawn.joins]
        parent = os.getpid()

        def become() -> None:  # runs in the child between fork and exec: only system calls here
            for fd in joins:
                os.write(fd, b"0")
            if spawn.network >= 0:
                kernel.setns(spawn.network, kernel.CLONE_NEWNET)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_NOFILE, FILES)
            if spawn.file_bytes:
                resource.setrlimit(resource.RLIMIT_FSIZE, (spawn.file_bytes, spawn.file_bytes))
            if spawn.uid:
                os.setgroups([])
                os.setresgid(spawn.uid, spawn.uid, spawn.uid)
                os.setresuid(spawn.uid, spawn.uid, spawn.uid)
            kernel.die_with_parent(parent)  # last: a change of the user would reset it

        try:
            return subprocess.Popen(
                spawn.arguments,
                stdin=subprocess.DEVNULL,
                stdout=spawn.output,
                stderr=spawn.output,
                env={},
                cwd="/",
                pass_fds=spawn.inherit,
                preexec_fn=become,  # noqa: PLW1509 it makes system calls alone, and takes no lock
                close_fds=True,
            )
        finally:
            for fd in joins:
                os.close(fd)


def _open_files() -> tuple[int, int]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    bound = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    return bound, bound


FILES = _open_files()
