"""The executor's port: the real one behind its client, and every fake that replaces it in tests."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import msgspec
import pytest

from annals.domain.ports import Artefact, Build, Executor, Limits, Outcome, Output, Run
from annals.executor.wire.client import ExecutorClient
from tests.contract.drivers.hosts import PYTHON, Host
from tests.integration.edge import executor as edge
from tests.integration.workers.executor import ANY, HELLO, FakeExecutor
from tests.simulation.blobs import SimulatedBlobs
from tests.simulation.executor import SimulatedExecutor
from tests.unit.executor.archives import gzipped
from tests.unit.executor.drivers import run as a_run

CODE = b"""
import asyncio

async def main(context):
    context.log("called")
    if context.req.path == "/slow":
        await asyncio.sleep(600)
    if context.req.path.startswith("/status/"):
        return context.res.text("own", int(context.req.path.rpartition("/")[2]))
    return context.res.text("hello", 200, {"x-own": "1"})
"""


class Side(Protocol):
    """One executor, and requests to it: a run that answers, one that lasts, and the same for builds."""

    @property
    def executor(self) -> Executor: ...

    async def run(self) -> Run: ...
    async def run_with_status(self, status: int) -> Run: ...
    async def lasting_run(self) -> Run: ...
    async def job(self) -> Build: ...
    async def lasting_job(self) -> Build: ...
    def gone(self) -> Executor: ...


class Real:
    def __init__(self, host: Host) -> None:
        self._host, self.executor = host, host.client

    async def run(self) -> Run:
        return await self._host.function(CODE.decode())

    async def run_with_status(self, status: int) -> Run:
        return msgspec.structs.replace(await self.run(), path=f"/status/{status}")

    async def lasting_run(self) -> Run:
        return msgspec.structs.replace(await self.run(), path="/slow", execution="slow", run_seconds=600.0)

    async def job(self) -> Build:
        return await self._host.job(gzipped({"main.py": CODE}), entrypoint="main.py", commands="echo begun")

    async def lasting_job(self) -> Build:
        return msgspec.structs.replace(
            await self.job(), deployment="slow", commands="echo begun; sleep 600", timeout_seconds=600.0
        )

    def gone(self) -> Executor:
        return ExecutorClient([f"unix:{self._host.folder}/nobody.sock"])


class Fake:
    def __init__(self, executor: FakeExecutor) -> None:
        self.executor = executor
        self.executor.outcome = HELLO
        self.executor.says = ["begun\n"]

    async def run(self) -> Run:
        return RUN

    async def run_with_status(self, status: int) -> Run:
        self.executor.answer = lambda _run: Outcome(status_code=status)
        return RUN

    async def lasting_run(self) -> Run:
        self.executor.go.clear()
        self.executor.written[ANY] = Output("called")
        return msgspec.structs.replace(RUN, execution="slow")

    async def job(self) -> Build:
        return JOB

    async def lasting_job(self) -> Build:
        self.executor.go.clear()
        return msgspec.structs.replace(JOB, deployment="slow")

    def gone(self) -> Executor:
        gone = FakeExecutor()
        gone.unreachable = True
        return gone


class Simulated:
    """The simulation's executor on a real loop, with short work and none of its faults."""

    def __init__(self) -> None:
        self.executor = _simulated()
        self.executor.answer = lambda _run: HELLO
        self.executor.says = "begun\n"
        self.executor.faults.broken = 0.0

    async def run(self) -> Run:
        return msgspec.structs.replace(RUN, run_seconds=0.01)

    async def run_with_status(self, status: int) -> Run:
        self.executor.statuses = [status]
        self.executor.answer = self.executor.drawn
        return await self.run()

    async def lasting_run(self) -> Run:
        self.executor.faults.hang = 1.0
        return msgspec.structs.replace(RUN, execution="slow")

    async def job(self) -> Build:
        return msgspec.structs.replace(JOB, timeout_seconds=0.01)

    async def lasting_job(self) -> Build:
        self.executor.faults.hang = 1.0
        return msgspec.structs.replace(JOB, deployment="slow")

    def gone(self) -> Executor:
        gone = _simulated()
        gone.up = False
        return gone


def _simulated() -> SimulatedExecutor:
    async def die() -> None:
        pytest.fail("the blob store ended its process")

    rng, loop = random.Random(1), asyncio.get_running_loop()
    loop_of_simulation: Any = loop
    return SimulatedExecutor(loop_of_simulation, rng, pytest.fail, SimulatedBlobs(rng, die))


@pytest.fixture(params=["real", "workers", "edge", "simulation"])
async def side(request: pytest.FixtureRequest) -> AsyncIterator[Side]:
    fakes: dict[str, Callable[[], Side]] = {
        "workers": lambda: Fake(FakeExecutor()),
        "edge": lambda: Fake(edge.FakeExecutor()),
        "simulation": Simulated,
    }
    if request.param in fakes:
        yield fakes[request.param]()
        return
    with TemporaryDirectory(prefix="ep-", dir="/tmp") as folder:
        host = Host(Path(folder), "sandbox")
        await host.open()
        try:
            yield Real(host)
        finally:
            await asyncio.shield(host.close())


ARTEFACT = Artefact(key="artefacts/1", digest="a" * 64, size=1)
RUN = a_run(
    function="f",
    deployment="d",
    runtime=PYTHON,
    artefact=ARTEFACT,
    entrypoint="main.py",
    limits=Limits(cpus=1, memory_mb=256),
    logging=True,
)
JOB = Build(
    project="p",
    function="f",
    deployment="d",
    epoch=1,
    runtime=PYTHON,
    source=ARTEFACT,
    output_key="artefacts/2",
    entrypoint="main.py",
    commands="",
    output_directory="",
    environment={},
    limits=Limits(cpus=1, memory_mb=1024),
    timeout_seconds=90.0,
    output_limit_bytes=100_000_000,
)
