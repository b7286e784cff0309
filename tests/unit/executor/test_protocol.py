"""The executor's port: many calls on one connection, withdrawn calls end, and lost peers are noticed at once."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest

from annals.domain.ports import (
    Artefact,
    Build,
    BuildOutcome,
    ExecutorUnavailable,
    Limits,
    LogSink,
    Outcome,
    Run,
)
from annals.executor.config import ExecutorConfig
from annals.executor.wire.client import ExecutorClient, rank
from annals.executor.wire.protocol import HEAD, VERSION, FrameKind, Status, encode, parse_address
from annals.executor.wire.server import ExecutorServer
from tests.unit.executor.certificates import certificates
from tests.unit.executor.drivers import run


def build(**changes: object) -> Build:
    values: dict[str, object] = {
        **dict.fromkeys(("project", "function", "deployment", "runtime", "output_key", "entrypoint"), "x"),
        **dict.fromkeys(("commands", "output_directory"), ""),
        "epoch": 1,
        "source": Artefact(key="k", digest="d", size=1),
        "environment": {},
        "limits": Limits(cpus=1, memory_mb=64),
        "timeout_seconds": 5.0,
        "output_limit_bytes": 10,
    }
    return Build(**(values | changes))  # type: ignore[arg-type]


class FakeWork:
    """Plays runner, builder and pool; `path` says what an execution does, `go` ends all waits."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0
        self.ended: list[str] = []
        self.retired: list[tuple[str, str]] = []

    async def execute(self, wanted: Run) -> Outcome:
        try:
            if wanted.path == "/fail":
                raise RuntimeError("wires crossed")
            if wanted.path.startswith("/wait"):
                self.waiting += 1
                await self.go.wait()
        except asyncio.CancelledError:
            self.ended.append(wanted.execution)
            raise
        return Outcome(status_code=200, body=wanted.body, message=wanted.execution)

    async def build(self, job: Build, log: LogSink) -> BuildOutcome:
        for number in range(3):
            await log(f"line {number}\n")
        if job.commands == "wait":
            try:
                self.waiting += 1
                await self.go.wait()
            except asyncio.CancelledError:
                self.ended.append(job.deployment)
                raise
        return BuildOutcome(seconds=1.5)

    async def retire_deployment(self, project: str, deployment: str) -> None:
        self.retired.append((project, deployment))

    def describe(self) -> dict[str, int]:
        return {"instances": 0}


class Port:
    def __init__(self, folder: Path) -> None:
        self.work: Any = FakeWork()
        self.path = folder / "run" / "executor.sock"
        self.config = ExecutorConfig(data=folder, work=folder, blobs_url="", listen=f"unix:{self.path}")

    async def status(self, work: dict[str, int]) -> Status:
        return Status(driver="fake", host="h", runtimes=[], limits={}, work=work)

    async def open(self) -> None:
        self.server = ExecutorServer(
            self.config, runner=self.work, builder=self.work, pool=self.work, status=self.status
        )
        self.client = ExecutorClient([await self.server.open()])


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    with TemporaryDirectory(prefix="pt-", dir="/tmp") as folder:
        made = Port(Path(folder))
        await made.open()
        yield made
        await made.client.close()
        await made.server.close()


async def test_many_calls_share_a_connection_and_each_gets_its_own_answer(port: Port) -> None:
    bodies = [os.urandom(size) for size in (0, 1, 70_000, 3_000_000, 5)]
    outcomes = await asyncio.gather(
        *(port.client.execute(run(execution=f"e{n}", body=body)) for n, body in enumerate(bodies))
    )

    assert [(o.message, o.body) for o in outcomes] == [(f"e{n}", body) for n, body in enumerate(bodies)]


async def test_builds_log_arrives_in_order_before_its_outcome(port: Port) -> None:
    lines: list[str] = []

    async def slow(text: str) -> None:
        await asyncio.sleep(0.01)
        lines.append(text)

    outcome = await port.client.build(build(), slow)

    assert "".join(lines) == "line 0\nline 1\nline 2\n"
    assert outcome.seconds == 1.5


async def begun(port: Port, count: int) -> None:
    async with asyncio.timeout(60):
        while port.work.waiting < count:
            await asyncio.sleep(0.01)


async def ended(port: Port, name: str) -> None:
    async with asyncio.timeout(60):
        while name not in port.work.ended:
            await asyncio.sleep(0.01)


async def test_withdrawn_call_ends_its_work(port: Port) -> None:
    call = asyncio.create_task(port.client.execute(run(execution="gone", path="/wait")))
    await begun(port, 1)
    call.cancel()

    await ended(port, "gone")


async def test_work_ends_when_its_callers_connection_is_lost(port: Port) -> None:
    call = asyncio.create_task(port.client.execute(run(execution="gone", path="/wait")))
    await begun(port, 1)
    await port.client.close()

    await ended(port, "gone")
    with pytest.raises(ExecutorUnavailable):
        await call


async def test_cancels_find_executions_and_builds_from_another_connection(port: Port) -> None:
    async def ignore(_: str) -> None: ...

    execution = asyncio.create_task(port.client.execute(run(execution="e", path="/wait")))
    building = asyncio.create_task(port.client.build(build(deployment="d", commands="wait"), ignore))
    await begun(port, 2)
    other = ExecutorClient([f"unix:{port.path}"])

    assert await other.cancel_execution("p", "e")
    assert await other.cancel_build("x", "d")
    assert not await other.cancel_build("x", "d")
    assert (await execution).reason == "canceled"
    assert (await building).reason == "canceled"
    await other.close()


async def test_fault_of_the_executor_is_reported_without_details_and_the_connection_stays(port: Port) -> None:
    with pytest.raises(ExecutorUnavailable, match="its log says why") as raised:
        await port.client.execute(run(path="/fail"))

    assert "wires crossed" not in str(raised.value)

    assert (await port.client.execute(run())).status_code == 200


async def test_retire_and_status_answer(port: Port) -> None:
    await port.client.retire("p", "d")
    [status] = (await port.client.status()).values()

    assert port.work.retired == [("p", "d")]
    assert isinstance(status, Status)
    assert status.work == {"executions": 0, "builds": 0, "instances": 0, "queued": 0}


async def test_executor_that_is_down_is_unavailable_quickly_and_found_again(port: Port) -> None:
    await port.client.execute(run())
    await port.server.close()
    for _ in range(3):
        with pytest.raises(ExecutorUnavailable) as raised:
            async with asyncio.timeout(30):
                await port.client.execute(run())
        assert str(port.path) not in str(raised.value)  # owners of functions read this message
    await port.server.open()
    await asyncio.sleep(0.25)

    assert (await port.client.execute(run())).status_code == 200


async def test_work_of_a_host_that_is_down_goes_to_the_next(port: Port) -> None:
    both = ExecutorClient([f"unix:{port.path}", f"unix:{port.path}.down"])

    assert {(await both.execute(run(deployment=f"d{n}"))).status_code for n in range(20)} == {200}
    await both.close()


def test_deployments_spread_over_hosts_and_stay_where_they_are_when_one_is_added() -> None:
    hosts = [f"tcp:host{n}:1" for n in range(4)]
    placed = {f"d{n}": max(hosts[:3], key=lambda url, n=n: rank(url, f"d{n}")) for n in range(300)}  # type: ignore[misc]
    after = {d: max(hosts, key=lambda url, d=d: rank(url, d)) for d in placed}  # type: ignore[misc]

    assert min(list(placed.values()).count(host) for host in hosts[:3]) > 60
    assert {after[d] for d in placed if after[d] != placed[d]} == {hosts[3]}


async def test_only_its_owner_reaches_the_socket(port: Port) -> None:
    assert stat.S_IMODE(port.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(port.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "sent",
    [
        HEAD.pack(9, FrameKind.EXECUTE, 1),
        HEAD.pack(10, FrameKind.HELLO, 1) + encode(VERSION + 1),
        HEAD.pack(2**32 - 1, FrameKind.HELLO, 1),
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 10,
    ],
    ids=["no hello", "other version", "endless frame", "another protocol"],
)
async def test_peer_with_another_version_is_disconnected(port: Port, sent: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(port.path))
    writer.write(sent)
    async with asyncio.timeout(60):
        try:
            await reader.read()
        except ConnectionResetError:
            return
        finally:
            writer.close()


async def test_tcp_without_certificates_is_refused(port: Port) -> None:
    config = ExecutorConfig(data=port.path, work=port.path, blobs_url="", listen="tcp:127.0.0.1:0")
    server = ExecutorServer(config, runner=port.work, builder=port.work, pool=port.work, status=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mutual TLS"):
        await server.open()


@pytest.mark.parametrize("url", ["", "unix:relative", "tcp:nohost", "tcp::5", "http://x:1", "tcp:h:p"])
def test_addresses_of_no_known_form_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not the address"):
        parse_address(url)


def test_addresses_of_known_forms_are_read() -> None:
    assert parse_address("unix:/a/b.sock") == ("/a/b.sock", "", 0)
    assert parse_address("tcp:host:5") == ("", "host", 5)
    assert parse_address("tcp:[::1]:5") == ("", "::1", 5)


async def test_hosts_that_prove_themselves_speak_over_tcp_and_others_do_not(port: Port, tmp_path: Path) -> None:
    tls, stranger = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs")
    config = msgspec.structs.replace(port.config, listen="tcp:127.0.0.1:0", tls=tls)
    server = ExecutorServer(config, runner=port.work, builder=port.work, pool=port.work, status=port.status)
    address = await server.open()
    friend, intruder = ExecutorClient([address], tls), ExecutorClient([address], stranger)

    assert (await friend.execute(run(body=b"over TLS"))).body == b"over TLS"
    with pytest.raises(ExecutorUnavailable):
        await intruder.execute(run())
    with pytest.raises(ExecutorUnavailable) as refused:
        await ExecutorClient([address]).execute(run())
    assert "mutual TLS" in str(refused.value.__cause__)
    await friend.close()
    await server.close()
