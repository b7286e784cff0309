"""Sandboxes of runtimes without a function server: they run the command of a build, and later commands."""

import asyncio
import hashlib
import secrets

from annals.domain.ports import Artefact, Build
from annals.executor.builds.artefacts import store_artefact
from annals.executor.builds.builder import BuildSite, environment
from annals.executor.builds.supervise import BuildBounds, BuildError, BuildOutputStream, supervise
from annals.executor.config import ExecutorConfig
from annals.executor.drivers import layout
from annals.executor.drivers.port import Construct, Driver
from annals.executor.errors import EngineAway, RuntimeUnavailable, StartFailed
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.parameters import RuntimeSpec, runtime_of
from annals.executor.open_runtimes.runtime import CommandSandbox, RuntimeOutput
from annals.executor.open_runtimes.sources import SourceArchives, key_of
from annals.executor.pool.code import CodeCache, CodeMissing, fetch
from annals.store.content.blobs import Blobs

PROJECT = "facade"


class CommandSandboxes(BuildSite):
    """Starts sandboxes and builds in them, a limited number at once."""

    def __init__(
        self, config: ExecutorConfig, driver: Driver, code: CodeCache, blobs: Blobs, sources: SourceArchives
    ) -> None:
        super().__init__(config, driver, code, blobs)
        self._sources = sources

    async def start(self, name: str, spec: RuntimeSpec) -> CommandSandbox:
        """Start a sandbox with its packed source. Raises ApiError, BlobError or OSError, and then leaves nothing."""
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
                waits_for_commands=True,
            )
            await self._driver.prepare(runtime)
            return CommandSandbox(await self._driver.construct(task, _discard), folder, cache)
        except EngineAway:
            await asyncio.to_thread(self._trash.remove, folder)
            raise
        except (CodeMissing, RuntimeUnavailable, StartFailed) as failure:
            await asyncio.to_thread(self._trash.remove, folder)
            raise ApiError("runtime_failed", str(failure)) from failure
        except BaseException:
            await asyncio.to_thread(self._trash.remove, folder)
            raise

    async def build(self, held: CommandSandbox, spec: RuntimeSpec, record: RuntimeOutput) -> Artefact | None:
        """Run the command; store its output if the runtime has a destination. Raises ApiError, BlobError."""
        async with self._slots:
            output = BuildOutputStream(record.write)
            try:
                if spec.command:
                    await self._run(held, spec, output)
                if not spec.destination:
                    return None
                return await self._keep(held, spec)
            except BuildError as end:
                if end.reason != "command_failed" and not output.ends_with(str(end)):
                    output.line(str(end))
                await output.close()
                raise ApiError("build_failed", record.text() or str(end)) from end
            except StartFailed as failure:
                raise ApiError("runtime_failed", str(failure)) from failure
            finally:
                await output.close()

    async def _run(self, held: CommandSandbox, spec: RuntimeSpec, output: BuildOutputStream) -> None:
        bounds = BuildBounds(spec.timeout, self._config.build_disk_bytes, spec.limits.memory_mb)
        work = held.run(spec.command, spec.timeout, output.write)
        with self._write_throttles.of(held.folder.name) as writes:
            await supervise(held.sandbox, work, held.folder, bounds._replace(writes=writes), output)
        if held.cache is not None:
            runtime = runtime_of(spec.image, self._config.images)
            held.cache_name = _cache_name(runtime, spec)

    async def _keep(self, held: CommandSandbox, spec: RuntimeSpec) -> Artefact:
        path = f"{spec.destination.rstrip('/')}/{secrets.token_hex(10)}.tar.gz"
        limit = self._config.build_disk_bytes
        return await store_artefact(held.folder, key=key_of(path), limit=limit, blobs=self._blobs, code=self._code)

    async def end(self, held: CommandSandbox) -> None:
        """Kill the sandbox and remove its folder."""
        await held.sandbox.kill()
        if held.cache is not None and held.cache_name:  # not earlier: the sandbox wrote to it
            await self._cache.give(PROJECT, held.cache_name, held.cache)
        await asyncio.to_thread(self._trash.remove, held.folder)


def _discard(_: bytes) -> None:
    """Discard the output of a sandbox that waits for commands."""


def _cache_name(runtime: str, spec: RuntimeSpec) -> str:
    return hashlib.sha256(f"{runtime}\0{spec.cache_key}".encode()).hexdigest()


def _job(name: str, runtime: str, spec: RuntimeSpec) -> Build:
    """Return a build with those fields that determine its environment."""
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
