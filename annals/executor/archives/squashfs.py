"""Reads a build's squashfs image as a tar, so that our tar reader checks its content as in any archive."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from annals.executor.archives.decompress import ByteSource
from annals.executor.errors import BadArchive

MAGIC = b"hsqs"
UNPRIVILEGED_ID = 65534
MEMORY_BYTES = 2 * 1024**3
CPU_SECONDS = 600
TOOL = "sqfs2tar"


def readable() -> bool:
    """Return True if this host can read squashfs images."""
    return shutil.which(TOOL) is not None


@contextmanager
def as_tar(file: BinaryIO) -> Iterator[ByteSource]:
    """Yield the content of an image as a tar, from a process with limits; as root it runs as an unprivileged user.

    Raises BadArchive.
    """
    tool = shutil.which(TOOL)
    if tool is None:
        raise BadArchive(
            "The build output is a squashfs image, which this host cannot read: install squashfs-tools-ng."
        )
    others: dict[str, object] = {}
    if os.geteuid() == 0:
        os.fchmod(file.fileno(), 0o644)  # nosec B103 the unprivileged user opens it
        others = {"user": UNPRIVILEGED_ID, "group": UNPRIVILEGED_ID, "extra_groups": []}
    process = subprocess.Popen(  # type: ignore[call-overload]
        [tool, "--no-xattr", "--no-skip", f"/proc/self/fd/{file.fileno()}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(file.fileno(),),
        env={},
        cwd="/",
        preexec_fn=_bound,  # noqa: PLW1509 it makes system calls alone
        **others,
    )
    try:
        yield _Output(process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class _Output:
    """The output of the process. Raises BadArchive at its end if the process failed."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def read(self, size: int) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 a pipe was asked for
        piece = self._process.stdout.read(size)
        if not piece and self._process.wait() != 0:
            raise BadArchive("The archive is damaged: its squashfs image cannot be read.")
        return piece


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
