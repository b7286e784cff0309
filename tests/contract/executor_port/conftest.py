"""The executor's port twice: the real one behind its client, and the fake that the workers' tests use."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import msgspec
import pytest

from annals.domain.ports import Artefact, Build, Executor, Limits, Run
from annals.executor.client import ExecutorClient
from tests.contract.drivers.hosts import PYTHON, Host
from tests.integration.workers.executor import FakeExecutor
from tests.unit.executor.archives import gzipped

CODE = b"""
import asyncio

async def main(context):
    context.log("called")
    if context.req.path == "/slow":
        await asyncio.sleep(600)
    return context.res.text("hello", 200, {"x-own": "1"})
"""


class Side(Protocol):
    """One executor, and what is asked of it: a run that answers, one that lasts, and the same of builds."""

    @property
    def executor(self) -> Executor: ...

    async def run(self) -> Run: ...
    async def lasting_run(self) -> Run: ...
    async def job(self) -> Build: ...
    async def lasting_job(self) -> Build: ...
    def gone(self) -> Executor: ...


class Real:
    def __init__(self, host: Host) -> None:
        self._host, self.executor = host, host.client

    async def run(self) -> Run:
        return await self._host.function(CODE.decode())

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
    def __init__(self) -> None:
        self.executor = FakeExecutor()
        self.executor.says = ["begun\n"]

    async def run(self) -> Run:
        return RUN

    async def lasting_run(self) -> Run:
        self.executor.go.clear()
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


@pytest.fixture(params=["real", "fake"])
async def side(request: pytest.FixtureRequest) -> AsyncIterator[Side]:
    if request.param == "fake":
        yield Fake()
        return
    with TemporaryDirectory(prefix="ep-", dir="/tmp") as folder:
        host = Host(Path(folder), "sandbox")
        await host.open()
        try:
            yield Real(host)
        finally:
            await asyncio.shield(host.close())


ARTEFACT = Artefact(key="artefacts/1", digest="a" * 64, size=1)
RUN = Run(
    project="p",
    function="f",
    deployment="d",
    execution="e1",
    epoch=1,
    runtime=PYTHON,
    artefact=ARTEFACT,
    entrypoint="main.py",
    environment={},
    environment_digest="v1",
    limits=Limits(cpus=1, memory_mb=256),
    method="GET",
    path="/",
    headers=[],
    body=b"",
    logging=True,
    start_seconds=60.0,
    run_seconds=60.0,
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
