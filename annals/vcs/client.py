"""Starts a process for each fetch, and kills it at its deadline."""

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
from annals.vcs.jobs import FetchBounds, FetchJob, FetchResult, Folder, JobFailed, Location, Reply, Report

MODULE = "annals.vcs.child"
CONCURRENT_JOBS = 4
"""Jobs of one process at the same time; others wait."""

_PASSED = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")
_decoder: msgspec.json.Decoder[FetchResult | JobFailed] = msgspec.json.Decoder(Reply)


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of a repository at a reference. `known` is the origin as far as it is known before the fetch.

    A `template` is committed to the folder before the fetch.
    """

    location: Location
    reference_type: ReferenceType
    reference: str
    root_directory: str = ""
    known: Origin
    template: Folder | None = None


class Repositories:
    """Fetches from repositories; one object a process. `allowed_hosts` may be internal; `*` allows every host."""

    def __init__(self, *, allowed_hosts: tuple[str, ...], bounds: FetchBounds) -> None:
        self._allowed_hosts = allowed_hosts
        self._bounds = bounds
        self._slots = asyncio.Semaphore(CONCURRENT_JOBS)

    async def look_up(self, request: FetchRequest, *, seconds: float) -> Origin:
        """Return the origin that a reference has now. Raises RepositoryError (`unreachable` after the time)."""
        with tempfile.TemporaryDirectory(prefix="annals-git-") as folder:
            return (await self._run(request, Path(folder), seconds=seconds)).origin

    async def report(self, request: FetchRequest, report: Report, *, seconds: float) -> None:
        """Send a commit's status to its host, if the host shows statuses. Raises RepositoryError."""
        with tempfile.TemporaryDirectory(prefix="annals-git-") as folder:
            await self._run(request, Path(folder), seconds=seconds, report=report)

    @asynccontextmanager
    async def fetch(self, request: FetchRequest) -> AsyncIterator[tuple[Path, Origin]]:
        """Yield the folder as a gzipped tar, which exists until the context ends. Raises RepositoryError."""
        with tempfile.TemporaryDirectory(prefix="annals-git-") as folder:
            archive = Path(folder) / "source.tar.gz"
            found = await self._run(request, Path(folder), seconds=self._bounds.seconds, archive=str(archive))
            yield archive, found.origin

    async def _run(
        self, request: FetchRequest, folder: Path, *, seconds: float, archive: str = "", report: Report | None = None
    ) -> FetchResult:
        job = FetchJob(
            location=request.location,
            reference_type=request.reference_type,
            reference=request.reference,
            root_directory=request.root_directory,
            archive=archive,
            folder=str(folder),
            known=request.known,
            bounds=msgspec.structs.replace(self._bounds, seconds=seconds),
            allowed_hosts=self._allowed_hosts,
            template=request.template if archive else None,
            report=report,
            parent=os.getpid(),
        )
        async with self._slots:
            output = await _answer(msgspec.json.encode(job), seconds)
        try:
            reply = _decoder.decode(output)
        except UNREADABLE:
            raise RepositoryError(
                "failed", "The fetch ended without an answer. It may have needed too much memory."
            ) from None
        if isinstance(reply, JobFailed):
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
        raise RepositoryError("unreachable", f"The repository did not answer within {seconds:g} seconds.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
