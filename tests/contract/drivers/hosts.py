"""A whole executor for tests, on either driver: blobs, builds and runs as workers request them."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from annals.domain.ports import Artefact, Build, BuildOutcome, Limits, Outcome, Run
from annals.executor.config import ExecutorConfig
from annals.executor.drivers.docker import DockerDriver
from annals.executor.drivers.port import Construct, Driver, Exit
from annals.executor.drivers.sandbox import SandboxDriver
from annals.executor.service.main import ExecutorProcess
from annals.executor.wire.client import ExecutorClient
from annals.executor.wire.protocol import Status
from annals.store.content.blobs import Blobs
from tests.unit.executor.archives import gzipped
from tests.unit.executor.drivers import run as a_run

RUNTIMES = Path(os.environ.get("ANNALS_TEST_RUNTIMES", "/tmp/annals-test-runtimes"))
"""Installed runtimes are kept between test runs: downloads would take most of the time."""

PYTHON = f"python-{os.environ.get('ANNALS_TEST_PYTHON', '3.13')}"
NODE = "node-22"
ENTRY = {"python": "main.py", "node": "index.js"}


def configuration(folder: Path, driver: str) -> ExecutorConfig:
    return ExecutorConfig(
        data=RUNTIMES,
        work=folder / "work",
        blobs_url=str(folder / "blobs"),
        listen=f"unix:{folder}/run/executor.sock",
        driver="docker" if driver == "docker" else "sandbox",
        grace_seconds=0.5,
        build_pids=300,
    )


class Host:
    """One executor in this process, and a client of it."""

    def __init__(self, folder: Path, driver: str) -> None:
        self.folder = folder
        self.config = configuration(folder, driver)
        self.blobs = Blobs.open(self.config.blobs_url)
        self.lines: list[str] = []
        self._names = iter(range(1_000_000))

    async def open(self, **changes: object) -> None:
        self.config = msgspec.structs.replace(self.config, **changes)
        self.process = await ExecutorProcess.start(self.config)
        self.client = ExecutorClient([self.process.address])

    async def close(self) -> None:
        await self.client.close()
        await self.process.close()

    @property
    def log(self) -> str:
        """Return the output of the builds so far."""
        return "".join(self.lines)

    async def hear(self, text: str) -> None:
        self.lines.append(text)

    async def upload(self, archive: bytes) -> Artefact:
        blob = await self.blobs.put(f"sources/{next(self._names)}", archive)
        return Artefact(key=blob.key, digest=blob.digest, size=blob.size)

    async def job(self, archive: bytes, **changes: object) -> Build:
        number = next(self._names)
        values: dict[str, object] = {
            "project": "p",
            "function": "f",
            "deployment": f"d{number}",
            "epoch": 1,
            "runtime": PYTHON,
            "source": await self.upload(archive),
            "output_key": f"artefacts/{number}",
            "entrypoint": "",
            "commands": "",
            "output_directory": "",
            "environment": {},
            "limits": Limits(cpus=1, memory_mb=1024),
            "timeout_seconds": 150.0,
            "output_limit_bytes": 100_000_000,
        }
        return Build(**(values | changes))  # type: ignore[arg-type]

    async def build(self, archive: bytes, **changes: object) -> BuildOutcome:
        return await self.client.build(await self.job(archive, **changes), self.hear)

    async def function(self, source: str, runtime: str = "", **files: str) -> Run:
        """Build a one-file function, and return a run that executes it, which tests may change."""
        runtime = runtime or PYTHON
        entry = ENTRY[runtime.split("-")[0]]
        job = await self.job(
            gzipped({entry: source.encode(), **{name: text.encode() for name, text in files.items()}}),
            runtime=runtime,
            entrypoint=entry,
        )
        outcome = await self.client.build(job, self.hear)
        assert outcome.artefact is not None, self.log
        return a_run(
            function="f",
            deployment=job.deployment,
            runtime=runtime,
            artefact=outcome.artefact,
            entrypoint=entry,
            environment={"GREETING": "hello"},
            limits=Limits(cpus=1, memory_mb=256),
            logging=True,
        )

    async def reserved(self, runtime: str) -> None:
        """Wait until the idle pool of a runtime is full; builds begin to fill it."""
        async with asyncio.timeout(60):
            while True:
                [status] = (await self.client.status()).values()
                assert isinstance(status, Status)
                if status.work["idle"] >= 2:
                    return
                await asyncio.sleep(0.02)

    async def execute(self, run: Run, **changes: object) -> Outcome:
        async with asyncio.timeout(150):
            return await self.client.execute(msgspec.structs.replace(run, **changes))


class Shell:
    """Runs commands in build sandboxes of a driver: the widest door that user code has."""

    def __init__(self, config: ExecutorConfig, driver: Driver) -> None:
        self.config = config
        self.driver = driver
        self.folder = config.work / "b"
        self._names = iter(range(1_000_000))

    async def run(
        self,
        commands: str,
        *,
        limits: Limits | None = None,
        seconds: float = 90,
        environment: dict[str, str] | None = None,
        hear: Callable[[bytes], object] | None = None,
    ) -> tuple[Exit, str]:
        """A command's end and output; beyond `seconds` it is killed."""
        name = f"shell-{next(self._names)}"
        folder = self.folder / name
        for part in ("source", "build", "output"):
            (folder / part).mkdir(parents=True)
        (folder / "source" / "file").touch()
        printed: list[bytes] = []

        def output(piece: bytes) -> None:
            printed.append(piece)
            if hear:
                hear(piece)

        sandbox = await self.driver.construct(
            Construct(
                name=name,
                runtime=PYTHON,
                folder=folder,
                commands=commands,
                environment=environment or {},
                limits=limits or Limits(cpus=1, memory_mb=256),
            ),
            output,
        )
        try:
            async with asyncio.timeout(seconds):
                end = await sandbox.wait()
        finally:
            await sandbox.kill()
        text = b"".join(printed).decode(errors="replace")
        return end, text.partition("Build command execution started.")[2]

    async def reached(self, *targets: tuple[str, int]) -> list[bool]:
        """Return for each address and port whether it answers with a greeting."""
        calls = (
            f'echo CALLED; at={address}; timeout 30 bash -c "cat < /dev/tcp/$at/{port}" || echo REFUSED'
            for address, port in targets
        )
        _, output = await self.run("; ".join(calls))
        answers = output.split("CALLED")[1:]
        assert [("GREETED" in answer) != ("REFUSED" in answer) for answer in answers] == [True] * len(targets), output
        return ["GREETED" in answer for answer in answers]


def driver_of(config: ExecutorConfig) -> Driver:
    return DockerDriver(config) if config.driver == "docker" else SandboxDriver(config)


def processes_with(marker: str) -> list[int]:
    """Return the processes of this machine whose command line contains a marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def heard_with(heard: list[bytes], text: bytes) -> bytes:
    """Wait until the output of a command contains a text, and return the output."""
    async with asyncio.timeout(60):
        while text not in (all_of_it := b"".join(heard)):
            await asyncio.sleep(0.05)
    return all_of_it


def address_in(heard: bytes) -> str:
    """Return the path that a command prints behind `AT`."""
    return heard.partition(b"AT ")[2].split()[0].decode()
