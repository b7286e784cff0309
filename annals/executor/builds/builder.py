"""Runs builds: unpacks the source, runs the build's commands in a sandbox, and stores the artefact."""

import asyncio
import os
import secrets
import time
from pathlib import Path

import structlog

from annals.domain.ports import Artefact, Build, BuildOutcome, LogSink
from annals.executor.archives import archive
from annals.executor.archives.decompress import squashfs_readable
from annals.executor.builds.artefacts import store_artefact
from annals.executor.builds.cache import OFF, BuildCache, cache_keys
from annals.executor.builds.supervise import (
    EMPTY_SOURCE,
    BuildBounds,
    BuildError,
    BuildOutputStream,
    WriteThrottles,
    supervise,
)
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Construct, Driver
from annals.executor.errors import BadArchive, EngineAway, RuntimeUnavailable, SandboxLost, StartFailed
from annals.executor.isolation.trash import Trash
from annals.executor.pool.code import CodeCache, CodeMissing, fetch
from annals.store.content.blobs import BlobError, BlobMissing, Blobs, BlobTooLarge

log = structlog.get_logger()

SOURCE = archive.ArchiveBounds(total_bytes=1024**3, entries=100_000, seconds=120.0)
REUSED = "Nothing that goes into this build has changed: its artefact is used again.\nBuild finished."
COMPRESSION = "OPEN_RUNTIMES_BUILD_COMPRESSION"


class BuildSite:
    """The folder, the caches and the limits of builds. Each control plane has its own."""

    def __init__(self, config: ExecutorConfig, driver: Driver, code: CodeCache, blobs: Blobs) -> None:
        self._config = config
        self._driver = driver
        self._code = code
        self._blobs = blobs
        self._folder = config.work / "b"
        self._trash = Trash(config.work)
        self._cache = BuildCache(
            config.work / "cache", most_bytes=config.build_cache_bytes, project_bytes=config.project_cache_bytes
        )
        self._write_throttles = WriteThrottles(config.build_write_bytes_s)
        self._slots = asyncio.Semaphore(config.builds)

    def open(self) -> None:
        """Blocking."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._cache.open()


class Builder(BuildSite):
    """Runs a limited number of builds at once. Cancelling a build kills its whole process tree."""

    def __init__(self, config: ExecutorConfig, driver: Driver, code: CodeCache, blobs: Blobs) -> None:
        super().__init__(config, driver, code, blobs)
        self._removing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        await asyncio.gather(*self._removing, self._cache.swept())

    async def build(self, job: Build, sink: LogSink) -> BuildOutcome:
        """Build one deployment. Failures of the source or its commands are part of the outcome, not exceptions."""
        async with self._slots:
            began = time.monotonic()
            output = BuildOutputStream(sink)
            folder = self._folder / secrets.token_hex(8)
            try:
                artefact = await self._build(job, folder, output)
                outcome = BuildOutcome(artefact=artefact, seconds=time.monotonic() - began)
            except BuildError as end:
                outcome = self._refused(end, output, began)
            except (EngineAway, SandboxLost):
                output.abandon()
                raise
            except (RuntimeUnavailable, StartFailed) as end:
                outcome = self._refused(BuildError("runtime_unavailable", str(end)), output, began)
            except (BlobError, OSError) as fault:
                log.error("build.failed", deployment=job.deployment, error=str(fault))
                outcome = self._refused(
                    BuildError("executor_lost", f"The build could not go on: {fault}"), output, began
                )
            except asyncio.CancelledError:
                output.abandon()
                raise
            finally:
                self._remove(folder)
            await output.close()
            return outcome

    @staticmethod
    def _refused(end: BuildError, output: BuildOutputStream, began: float) -> BuildOutcome:
        sentence = str(end)
        if not output.ends_with(sentence):
            output.line(sentence)
        return BuildOutcome(
            reason=end.reason, message=sentence, exit_code=end.exit_code, seconds=time.monotonic() - began
        )

    def _remove(self, folder: Path) -> None:
        task = asyncio.create_task(asyncio.to_thread(self._trash.remove, folder))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    async def _build(self, job: Build, folder: Path, output: BuildOutputStream) -> Artefact:
        await self._driver.prepare(job.runtime)
        await self._unpack(job, folder)
        if job.environment.get(OFF[0]) == OFF[1]:
            await self._run(job, folder, output)
            return await self._store(job, folder)
        key = await asyncio.to_thread(cache_keys, job, folder / "source")
        if key.artefact and (artefact := await self._reuse(job, key.artefact)):
            output.line(REUSED)
            return artefact
        downloads = folder / "cache"
        await self._cache.take(job.project, key.packages, downloads)
        await self._run(job, folder, output, downloads)
        await self._cache.give(job.project, key.packages, downloads)
        artefact = await self._store(job, folder)
        if key.artefact:
            await self._cache.keep_artefact(job.project, key.artefact, artefact)
        return artefact

    async def _reuse(self, job: Build, key: str) -> Artefact | None:
        """Return a copy of the artefact that an earlier build made from the same input, or None."""
        known = await self._cache.artefact(job.project, key)
        if known is None:
            return None
        try:
            stored = await self._blobs.put(
                job.output_key, self._blobs.stream(known.key), limit=min(known.size, job.output_limit_bytes)
            )
        except (BlobMissing, BlobTooLarge):
            return None
        if stored.digest != known.digest:
            await self._blobs.delete(job.output_key)
            return None
        return Artefact(key=stored.key, digest=stored.digest, size=stored.size)

    async def _unpack(self, job: Build, folder: Path) -> None:
        for name in ("", "build", "output"):
            (folder / name).mkdir(mode=0o755)
        packed = folder / "archive"
        try:
            await fetch(self._blobs, job.source, packed)
            unpacked = await asyncio.to_thread(archive.unpack, packed, folder / "source", SOURCE)
        except (BadArchive, CodeMissing) as error:
            raise BuildError("bad_archive", str(error)) from error
        packed.unlink()
        if not unpacked.files:
            raise BuildError("empty_source", EMPTY_SOURCE)

    async def _run(self, job: Build, folder: Path, output: BuildOutputStream, cache: Path | None = None) -> None:
        task = Construct(
            name=folder.name,
            runtime=job.runtime,
            folder=folder,
            commands=job.commands,
            environment=environment(job),
            limits=job.limits,
            cache=cache,
        )
        sandbox = await self._driver.construct(task, output.write)
        limits = BuildBounds(job.timeout_seconds, self._config.build_disk_bytes, job.limits.memory_mb)
        try:
            with self._write_throttles.of(job.project) as writes:
                await supervise(sandbox, sandbox.wait(), folder, limits._replace(writes=writes), output)
        finally:
            await sandbox.kill()

    async def _store(self, job: Build, folder: Path) -> Artefact:
        """Check the artefact, and store it."""
        artefact = await store_artefact(
            folder, key=job.output_key, limit=job.output_limit_bytes, blobs=self._blobs, code=self._code
        )
        if job.entrypoint and not await asyncio.to_thread(self._code.holds, artefact.digest, job.entrypoint):
            await self._blobs.delete(job.output_key)
            raise BuildError(
                "entrypoint_missing", f"Error: The entrypoint {job.entrypoint} is not in the build output."
            )
        return artefact


def environment(job: Build) -> dict[str, str]:
    """Return the function's variables, and those that the executor sets for builds (runtime.md §11)."""
    fixed = {
        "OPEN_RUNTIMES_SECRET": secrets.token_hex(16),
        "OPEN_RUNTIMES_ENTRYPOINT": job.entrypoint,
        "OPEN_RUNTIMES_HOSTNAME": job.deployment,
        "OPEN_RUNTIMES_CPUS": f"{job.limits.cpus:g}",
        "OPEN_RUNTIMES_MEMORY": str(job.limits.memory_mb),
        "CI": "true",
        "INERNAL_EXECUTOR_HOSTNAME": os.uname().nodename,
    }
    if job.output_directory:
        fixed["OPEN_RUNTIMES_OUTPUT_DIRECTORY"] = job.output_directory
    if job.environment.get(COMPRESSION) == "squashfs" and not squashfs_readable():
        fixed[COMPRESSION] = "gzip"  # this host cannot read squashfs
    return {"OPEN_RUNTIMES_ENV": "production", "PIP_PROGRESS_BAR": "off", "TERM": "xterm", **job.environment, **fixed}
