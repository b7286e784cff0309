"""Builds: a source archive becomes an artefact in the blob store, in a sandbox, with its output read live."""

import asyncio
import os
import secrets
import time
from pathlib import Path

import structlog

from annals.domain.ports import Artefact, Build, BuildOutcome, LogSink
from annals.executor.archives import archive, squashfs
from annals.executor.builds.artefacts import keep
from annals.executor.builds.cache import OFF, BuildCache, inputs
from annals.executor.builds.output import BuildLog
from annals.executor.builds.pace import Paces
from annals.executor.builds.supervise import EMPTY_SOURCE, Bounds, BuildRefused, finished
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Construct, Driver
from annals.executor.errors import BadArchive, EngineAway, RuntimeUnavailable, SandboxLost, StartFailed
from annals.executor.isolation.trash import Trash
from annals.executor.pool.code import CodeCache, CodeMissing, fetch
from annals.store.content.blobs import BlobError, BlobMissing, Blobs, BlobTooLarge

log = structlog.get_logger()

SOURCE = archive.ArchiveBounds(total_bytes=1024**3, entries=100_000, seconds=120.0)
USED_AGAIN = "Nothing that goes into this build has changed: its artefact is used again.\nBuild finished."
COMPRESSION = "OPEN_RUNTIMES_BUILD_COMPRESSION"


class Builder:
    """Runs builds, a bounded number at once. Cancelling a build kills its whole process tree."""

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
        self._paces = Paces(config.build_write_bytes_s)
        self._places = asyncio.Semaphore(config.builds)
        self._removing: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        self._folder.mkdir(mode=0o755, exist_ok=True)
        self._cache.open()

    async def close(self) -> None:
        await asyncio.gather(*self._removing, self._cache.swept())

    async def build(self, job: Build, sink: LogSink) -> BuildOutcome:
        """Build one deployment. Never raises for what the source or its commands did."""
        async with self._places:
            began = time.monotonic()
            output = BuildLog(sink)
            folder = self._folder / secrets.token_hex(8)
            try:
                artefact = await self._build(job, folder, output)
                outcome = BuildOutcome(artefact=artefact, seconds=time.monotonic() - began)
            except BuildRefused as end:
                outcome = self._refused(end, output, began)
            except (EngineAway, SandboxLost):
                output.abandon()
                raise
            except (RuntimeUnavailable, StartFailed) as end:
                outcome = self._refused(BuildRefused("runtime_unavailable", str(end)), output, began)
            except (BlobError, OSError) as fault:
                log.error("build.failed", deployment=job.deployment, error=str(fault))
                outcome = self._refused(
                    BuildRefused("executor_lost", f"The build could not go on: {fault}"), output, began
                )
            except asyncio.CancelledError:
                output.abandon()
                raise
            finally:
                self._remove(folder)
            await output.close()
            return outcome

    @staticmethod
    def _refused(end: BuildRefused, output: BuildLog, began: float) -> BuildOutcome:
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

    async def _build(self, job: Build, folder: Path, output: BuildLog) -> Artefact:
        await self._driver.prepare(job.runtime)
        await self._lay_out(job, folder)
        if job.environment.get(OFF[0]) == OFF[1]:
            await self._run(job, folder, output)
            return await self._keep(job, folder)
        what = await asyncio.to_thread(inputs, job, folder / "source")
        if what.whole and (artefact := await self._used_again(job, what.whole)):
            output.line(USED_AGAIN)
            return artefact
        place = folder / "cache"
        await self._cache.take(job.project, what.packages, place)
        await self._run(job, folder, output, place)
        await self._cache.give(job.project, what.packages, place)
        artefact = await self._keep(job, folder)
        if what.whole:
            await self._cache.keep_artefact(job.project, what.whole, artefact)
        return artefact

    async def _used_again(self, job: Build, what: str) -> Artefact | None:
        """A copy of what the same input became before; None where there is none."""
        known = await self._cache.artefact(job.project, what)
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

    async def _lay_out(self, job: Build, folder: Path) -> None:
        for name in ("", "build", "output"):
            (folder / name).mkdir(mode=0o755)
        packed = folder / "archive"
        try:
            await fetch(self._blobs, job.source, packed)
            unpacked = await asyncio.to_thread(archive.unpack, packed, folder / "source", SOURCE)
        except (BadArchive, CodeMissing) as refusal:
            raise BuildRefused("bad_archive", str(refusal)) from refusal
        packed.unlink()
        if not unpacked.files:
            raise BuildRefused("empty_source", EMPTY_SOURCE)

    async def _run(self, job: Build, folder: Path, output: BuildLog, cache: Path | None = None) -> None:
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
        bounds = Bounds(job.timeout_seconds, self._config.build_disk_bytes, job.limits.memory_mb)
        try:
            with self._paces.of(job.project) as writes:
                await finished(sandbox, sandbox.wait(), folder, bounds._replace(writes=writes), output)
        finally:
            await sandbox.kill()

    async def _keep(self, job: Build, folder: Path) -> Artefact:
        """Prove the artefact usable, then store it."""
        artefact = await keep(
            folder, key=job.output_key, limit=job.output_limit_bytes, blobs=self._blobs, code=self._code
        )
        if job.entrypoint and not await asyncio.to_thread(self._code.holds, artefact.digest, job.entrypoint):
            await self._blobs.delete(job.output_key)
            raise BuildRefused(
                "entrypoint_missing", f"Error: The entrypoint {job.entrypoint} is not in the build output."
            )
        return artefact


def environment(job: Build) -> dict[str, str]:
    """The function's variables, with what the executor itself sets for builds (runtime.md §11)."""
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
    if job.environment.get(COMPRESSION) == "squashfs" and not squashfs.readable():
        fixed[COMPRESSION] = "gzip"  # what this host could not read again
    return {"OPEN_RUNTIMES_ENV": "production", "PIP_PROGRESS_BAR": "off", "TERM": "xterm", **job.environment, **fixed}
