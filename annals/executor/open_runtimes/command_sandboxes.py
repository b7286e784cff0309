"""Runtimes that serve nobody: held for a build's command and for those that follow."""

import asyncio
import hashlib
import secrets
import time
from pathlib import Path

from annals.domain.ports import Artefact, Build
from annals.executor.builds.artefacts import keep
from annals.executor.builds.builder import environment
from annals.executor.builds.cache import BuildCache
from annals.executor.builds.output import BuildLog
from annals.executor.builds.pace import Paces
from annals.executor.builds.supervise import Bounds, BuildRefused, finished
from annals.executor.config import ExecutorConfig
from annals.executor.drivers import layout
from annals.executor.drivers.port import Construct, Driver, Exit, Sandbox, Sink
from annals.executor.errors import EngineAway, RuntimeUnavailable, StartFailed
from annals.executor.isolation.trash import Trash
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.output import Record
from annals.executor.open_runtimes.parameters import Spec, runtime_of
from annals.executor.open_runtimes.sources import Sources, key_of
from annals.executor.pool.code import CodeCache, CodeMissing, fetch
from annals.store.content.blobs import Blobs

PROJECT = "facade"


class Held:
    """A sandbox that takes commands; `used` is monotonic."""

    def __init__(self, sandbox: Sandbox, folder: Path, cache: Path | None) -> None:
        self.sandbox, self.folder, self.cache = sandbox, folder, cache
        self.cache_name = ""
        """What its downloads are kept as once it has ended; empty where they are not."""
        self.used = time.monotonic()
        self.busy = 0

    async def run(self, command: str, seconds: float, output: Sink) -> Exit:
        """As `Sandbox.run`."""
        self.busy += 1
        try:
            return await self.sandbox.run(command, seconds, output)
        finally:
            self.busy -= 1
            self.used = time.monotonic()


class Builds:
    """Holds sandboxes and builds in them, a bounded number at once."""

    def __init__(self, config: ExecutorConfig, driver: Driver, code: CodeCache, blobs: Blobs, sources: Sources) -> None:
        self._config = config
        self._driver = driver
        self._code = code
        self._blobs = blobs
        self._sources = sources
        self._folder = config.work / "b"
        self._trash = Trash(config.work)
        self._cache = BuildCache(
            config.work / "cache", most_bytes=config.build_cache_bytes, project_bytes=config.project_cache_bytes
        )
        self._paces = Paces(config.build_write_bytes_s)
        self._places = asyncio.Semaphore(config.builds)

    def open(self) -> None:
        """Blocking."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._cache.open()

    async def hold(self, name: str, spec: Spec) -> Held:
        """Start one with its source at hand. Raises ApiError, BlobError or OSError; then nothing is left."""
        runtime = runtime_of(spec.image, self._config.images)
        folder = self._folder / secrets.token_hex(8)
        cache = folder / "cache" if spec.cache_key else None
        if spec.destination:
            key_of(spec.destination)
        try:
            for part in ("", "build", "output"):
                (folder / part).mkdir(mode=0o755)
            if spec.source:
                archive = folder / layout.ARCHIVE
                await fetch(self._blobs, await self._sources.artefact(spec.source), archive)
                archive.chmod(0o644)
            if cache is not None:
                await self._cache.take(PROJECT, _cache_name(runtime, spec), cache)
            task = Construct(
                name=folder.name,
                runtime=runtime,
                folder=folder,
                commands="",
                environment=environment(_job(name, runtime, spec)),
                limits=spec.limits,
                cache=cache,
                held=True,
            )
            await self._driver.prepare(runtime)
            return Held(await self._driver.construct(task, _ignore), folder, cache)
        except EngineAway:
            await asyncio.to_thread(self._trash.remove, folder)
            raise
        except (CodeMissing, RuntimeUnavailable, StartFailed) as failure:
            await asyncio.to_thread(self._trash.remove, folder)
            raise ApiError("runtime_failed", str(failure)) from failure
        except BaseException:
            await asyncio.to_thread(self._trash.remove, folder)
            raise

    async def build(self, held: Held, spec: Spec, record: Record) -> Artefact | None:
        """Run the command, and keep what it leaves where there is a destination for it. Raises ApiError, BlobError."""
        async with self._places:
            output = BuildLog(record.write)
            try:
                if spec.command:
                    await self._run(held, spec, output)
                if not spec.destination:
                    return None
                return await self._keep(held, spec)
            except BuildRefused as end:
                if end.reason != "command_failed" and not output.ends_with(str(end)):
                    output.line(str(end))
                await output.close()
                raise ApiError("build_failed", record.text() or str(end)) from end
            except StartFailed as failure:
                raise ApiError("runtime_failed", str(failure)) from failure
            finally:
                await output.close()

    async def _run(self, held: Held, spec: Spec, output: BuildLog) -> None:
        bounds = Bounds(spec.timeout, self._config.build_disk_bytes, spec.limits.memory_mb)
        work = held.run(spec.command, spec.timeout, output.write)
        with self._paces.of(held.folder.name) as writes:
            await finished(held.sandbox, work, held.folder, bounds._replace(writes=writes), output)
        if held.cache is not None:
            runtime = runtime_of(spec.image, self._config.images)
            held.cache_name = _cache_name(runtime, spec)

    async def _keep(self, held: Held, spec: Spec) -> Artefact:
        path = f"{spec.destination.rstrip('/')}/{secrets.token_hex(10)}.tar.gz"
        limit = self._config.build_disk_bytes
        return await keep(held.folder, key=key_of(path), limit=limit, blobs=self._blobs, code=self._code)

    async def end(self, held: Held) -> None:
        """Kill it and leave nothing of it behind."""
        await held.sandbox.kill()
        if held.cache is not None and held.cache_name:  # only now nothing writes to it any more
            await self._cache.give(PROJECT, held.cache_name, held.cache)
        await asyncio.to_thread(self._trash.remove, held.folder)


def _ignore(_: bytes) -> None:
    """What a sandbox prints that only waits is nobody's."""


def _cache_name(runtime: str, spec: Spec) -> str:
    return hashlib.sha256(f"{runtime}\0{spec.cache_key}".encode()).hexdigest()


def _job(name: str, runtime: str, spec: Spec) -> Build:
    """The build in our own terms, as far as its environment follows from it."""
    return Build(
        project=PROJECT,
        function=name,
        deployment=name,
        epoch=1,
        runtime=runtime,
        source=Artefact(key="", digest="", size=0),
        output_key="",
        entrypoint=spec.entrypoint,
        commands="",
        output_directory=spec.output_directory,
        environment=spec.variables,
        limits=spec.limits,
        timeout_seconds=spec.timeout,
        output_limit_bytes=0,
    )
