"""Function servers of other control planes' runtimes: one instance for each runtime, in a separate pool."""

import secrets
import socket

import msgspec

from annals.domain.ports import Outcome, Run
from annals.executor.builds.supervise import BuildOutputStream
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.port import Driver
from annals.executor.errors import BadArchive, EngineAway, NoneFree, RuntimeUnavailable, StartFailed
from annals.executor.open_runtimes.command_sandboxes import PROJECT
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.parameters import ExecutionSpec, RuntimeSpec, runtime_of
from annals.executor.open_runtimes.runtime import ManagedRuntime
from annals.executor.open_runtimes.sources import SourceArchives
from annals.executor.pool.code import CodeCache, CodeMissing
from annals.executor.pool.instance import Instance
from annals.executor.pool.pool import Ended, Pool
from annals.executor.pool.restarts import Restarts
from annals.executor.pool.runner import Runner

OUTPUT = "OPEN_RUNTIMES_OUTPUT_DIRECTORY"
NOT_STARTED = frozenset(("start_failed", "runtime_unavailable", "deployment_missing"))


class FunctionServers:
    """Starts, calls and ends the function servers of runtimes."""

    def __init__(
        self, config: ExecutorConfig, driver: Driver, code: CodeCache, sources: SourceArchives, ended: Ended
    ) -> None:
        self._images = config.images
        self._sources = sources
        self._pool = Pool(config, driver, code, ended, Restarts(by_deployment=True))
        self._runner = Runner(config, self._pool, socket.gethostname())

    def open(self) -> None:
        self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    def key(self, runtime: ManagedRuntime) -> str:
        """Return the secret of a runtime's server, empty while none is up."""
        instance = self._pool.find(runtime.run) if runtime.run else None
        return instance.secret if instance else ""

    async def begin(self, runtime: ManagedRuntime) -> None:
        """Start a runtime's server, and run the runtime's command. Raises ApiError."""
        spec = runtime.spec
        if not spec.source:
            raise ApiError("runtime_failed", "A function server needs a source.")
        runtime.run = await self._run_of(runtime, spec)
        instance = await self.up(runtime, spec.timeout)
        if spec.command:
            await _command(instance, spec, runtime)

    async def _run_of(self, runtime: ManagedRuntime, spec: RuntimeSpec) -> Run:
        return Run(
            project=PROJECT,
            function=runtime.name,
            deployment=runtime.name,
            execution="",
            epoch=1,
            runtime=runtime_of(spec.image, self._images),
            artefact=await self._sources.artefact(spec.source),
            entrypoint=spec.entrypoint,
            environment=spec.variables | ({OUTPUT: spec.output_directory} if spec.output_directory else {}),
            environment_digest=runtime.incarnation,
            limits=spec.limits,
            method="GET",
            path="/",
            headers=[],
            body=b"",
            logging=True,
            start_seconds=spec.timeout,
            run_seconds=spec.timeout,
            max_instances=1,
        )

    async def up(self, runtime: ManagedRuntime, seconds: float) -> Instance:
        """Return a runtime's instance, started if it is not up. Raises ApiError."""
        if runtime.run is None:
            raise ApiError("execution_bad_request", "The runtime serves no function: it was created without a server.")
        run = msgspec.structs.replace(runtime.run, start_seconds=seconds)
        try:
            instance, _ = await self._pool.acquire(run)
        except EngineAway:
            raise
        except NoneFree as late:
            raise ApiError("runtime_timeout") from late
        except (StartFailed, RuntimeUnavailable, CodeMissing, BadArchive) as failure:
            raise ApiError("runtime_failed", str(failure)) from failure
        self._pool.release(run, instance)
        return instance

    async def execute(self, runtime: ManagedRuntime, call: ExecutionSpec, seconds: float) -> Outcome:
        """Call a function; failures of user code are part of the outcome. Raises ApiError."""
        await self.up(runtime, seconds)
        if runtime.run is None:
            raise ApiError("runtime_not_found")
        run = msgspec.structs.replace(
            runtime.run,
            execution=secrets.token_hex(10),
            method=call.method,
            path=call.path,
            headers=call.headers,
            body=call.body,
            logging=call.logging,
            start_seconds=seconds,
            run_seconds=seconds,
            queue_seconds=seconds,
        )
        outcome = await self._runner.execute(run)
        if outcome.reason in NOT_STARTED:
            raise ApiError("runtime_failed", outcome.message)
        return outcome

    async def end(self, runtime: ManagedRuntime) -> None:
        """Kill a runtime's server, also a busy one."""
        if runtime.run is not None:
            await self._pool.remove(runtime.run)


async def _command(instance: Instance, spec: RuntimeSpec, runtime: ManagedRuntime) -> None:
    output = BuildOutputStream(runtime.output.write)
    try:
        end = await instance.command(spec.command, spec.timeout, output.write)
    except TimeoutError:
        raise ApiError("runtime_timeout") from None
    except StartFailed as failure:
        raise ApiError("runtime_failed", str(failure)) from failure
    finally:
        await output.close()
    if end.code != 0:
        raise ApiError("build_failed", runtime.output.text() or f"Build command exited with code {end.code}.")
