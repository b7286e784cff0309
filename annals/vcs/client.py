"""Asking for a repository's commit or files: each job is a process of its own, ended when it takes too long."""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from annals.domain.decoding import UNREADABLE
from annals.domain.origin import Origin, ReferenceType, storable
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bounds, Folder, Found, Job, JobRefused, Place, Reply, Report

MODULE = "annals.vcs.child"
AT_ONCE = 4
"""Jobs of one process at the same time; others wait."""

_PASSED = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")
_decoder: msgspec.json.Decoder[Found | JobRefused] = msgspec.json.Decoder(Reply)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A folder at a reference of a place; `known` is what is known of it before it is asked. A `template` is committed
    to it before it is fetched."""

    place: Place
    reference_type: ReferenceType
    reference: str
    root_directory: str = ""
    known: Origin
    template: Folder | None = None


class Repositories:
    """One per process. `allowed_hosts` may have internal addresses; `*` allows any host."""

    def __init__(self, *, allowed_hosts: tuple[str, ...], bounds: Bounds) -> None:
        self._allowed_hosts, self._bounds = allowed_hosts, bounds
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def look_up(self, wanted: Wanted, *, seconds: float) -> Origin:
        """What a reference leads to now. Raises RepositoryError, `unreachable` after so many seconds."""
        with tempfile.TemporaryDirectory(prefix="annals-git-") as folder:
            return (await self._run(wanted, Path(folder), seconds=seconds)).origin

    async def report(self, wanted: Wanted, report: Report, *, seconds: float) -> None:
        """Tell a commit's host what became of it, where it shows such things. Raises RepositoryError."""
        with tempfile.TemporaryDirectory(prefix="annals-git-") as folder:
            await self._run(wanted, Path(folder), seconds=seconds, report=report)

    @asynccontextmanager
    async def fetch(self, wanted: Wanted) -> AsyncIterator[tuple[Path, Origin]]:
        """The folder as a gzipped tar, there until the context ends. Raises RepositoryError."""
        with tempfile.TemporaryDirectory(prefix="annals-git-") as folder:
            archive = Path(folder) / "source.tar.gz"
            found = await self._run(wanted, Path(folder), seconds=self._bounds.seconds, archive=str(archive))
            yield archive, found.origin

    async def _run(
        self, wanted: Wanted, folder: Path, *, seconds: float, archive: str = "", report: Report | None = None
    ) -> Found:
        job = Job(
            place=wanted.place,
            reference_type=wanted.reference_type,
            reference=wanted.reference,
            root_directory=wanted.root_directory,
            archive=archive,
            folder=str(folder),
            known=wanted.known,
            bounds=msgspec.structs.replace(self._bounds, seconds=seconds),
            allowed_hosts=self._allowed_hosts,
            template=wanted.template if archive else None,
            report=report,
            parent=os.getpid(),
        )
        async with self._turn:
            output = await _answer(msgspec.json.encode(job), seconds)
        try:
            reply = _decoder.decode(output)
        except UNREADABLE:
            raise RepositoryError(
                "failed", "The fetch ended without an answer; it may have needed too much memory."
            ) from None
        if isinstance(reply, JobRefused):
            raise RepositoryError(reply.kind, reply.sentence)
        return msgspec.structs.replace(reply, origin=storable(reply.origin))


async def _answer(job: bytes, seconds: float) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-m", MODULE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: os.environ[name] for name in _PASSED if name in os.environ},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate(job)
            return output
    except TimeoutError:
        raise RepositoryError("unreachable", f"The repository was not there within {seconds:g} seconds.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
