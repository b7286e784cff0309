"""Many calls of one project beside a call of another: few of them hold permits, and the other call starts at once."""

import asyncio
import mmap
from collections import Counter
from typing import Any

import pytest

from annals.app.edge import stages as edge_module
from annals.app.edge.call import Call
from annals.app.edge.stages import READS_AT_ONCE
from annals.app.executions import queries
from annals.app.services import Services
from annals.capacity.fair_queue import FairQueue
from annals.capacity.shared_memory import SIZE, TenantActivity
from annals.store.log.log import EventLog
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor
from tests.integration.workers.valkey import until

CROWD, FEW = 12, 2


class HeldLog:
    """A log that records nothing until it is released."""

    def __init__(self, log: EventLog) -> None:
        self.limiter = asyncio.Event()
        self._log = log

    async def record(self, *args: Any, **kwargs: Any) -> Any:
        await self.limiter.wait()
        return await self._log.record(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@pytest.fixture
def other(plain: Client) -> Client:
    return plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")


@pytest.fixture
def tenant_activity(services: Services) -> TenantActivity:
    """The active tenants, if everything is requested in one moment."""
    tenant_activity = TenantActivity(mmap.mmap(-1, SIZE), lambda: 1.0)
    services.fair_queue = FairQueue(tenant_activity, FEW)
    return tenant_activity


class HeldReads:
    """Lists of executions that are held until they are released. `begun` are their projects."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limiter, self.begun = asyncio.Event(), Counter[str]()
        self._read = queries.read_executions
        monkeypatch.setattr(queries, "read_executions", self.read)

    async def read(self, call: Call, *args: Any, **kwargs: Any) -> bytes:
        self.begun[call.project_id] += 1
        await self.limiter.wait()
        return await self._read(call, *args, **kwargs)


def lists(client: Client, function_id: str, count: int = 1) -> list[asyncio.Task[Reply]]:
    return [asyncio.create_task(client.get(f"/v1/functions/{function_id}/executions")) for _ in range(count)]


async def held(services: Services) -> HeldLog:
    log = HeldLog(services.log)
    services.log = log  # type: ignore[assignment]
    return log


def runs(executor: FakeExecutor) -> Counter[str]:
    return Counter(run.project for run in executor.runs)


@pytest.mark.usefixtures("tenant_activity")
@pytest.mark.parametrize("async_", [False, True])
async def test_busy_project_has_few_permits_while_another_project_calls(
    services: Services, plain: Client, other: Client, executor: FakeExecutor, async_: bool
) -> None:
    at_limit = await given.running_function(services, plain)
    function_id = await given.running_function(services, other, project_id="p2")
    log = await held(services)
    crowd = [asyncio.create_task(given.execute(plain, at_limit, async_=async_)) for _ in range(CROWD)]
    await until(lambda: services.fair_queue.waiting == CROWD - FEW, seconds=60)
    one = asyncio.create_task(given.execute(other, function_id))
    await until(lambda: runs(executor)["p2"] == 1, seconds=60)
    assert runs(executor)["p1"] == (0 if async_ else FEW)
    assert services.fair_queue.waiting == CROWD - FEW

    log.limiter.set()

    assert (await one).status == 201
    assert {reply.status for reply in await asyncio.gather(*crowd)} == {202 if async_ else 201}
    assert services.fair_queue.waiting == 0


@pytest.mark.usefixtures("tenant_activity")
async def test_project_without_competition_has_unlimited_permits(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    function_id = await given.running_function(services, plain)
    log = await held(services)

    crowd = [asyncio.create_task(given.execute(plain, function_id)) for _ in range(CROWD)]
    await until(lambda: runs(executor)["p1"] == CROWD, seconds=60)

    log.limiter.set()
    assert {reply.status for reply in await asyncio.gather(*crowd)} == {201}


async def test_readers_count_as_active_tenants_and_refused_callers_do_not(
    tenant_activity: TenantActivity, plain: Client, other: Client
) -> None:
    await plain.with_(x_appwrite_project="p2", x_appwrite_key="wrong").get("/v1/functions")
    assert not tenant_activity.is_contended("p1")

    await other.get("/v1/functions")

    assert tenant_activity.is_contended("p1")


@pytest.mark.usefixtures("tenant_activity")
async def test_fair_queue_does_not_limit_running_code(
    services: Services, plain: Client, other: Client, executor: FakeExecutor
) -> None:
    """Calls that wait for their code hold no permit."""
    executor.go = asyncio.Event()
    at_limit = await given.running_function(services, plain)
    function_id = await given.running_function(services, other, project_id="p2")
    one = asyncio.create_task(given.execute(other, function_id))
    crowd = [asyncio.create_task(given.execute(plain, at_limit)) for _ in range(CROWD)]

    await until(lambda: runs(executor) == {"p1": CROWD, "p2": 1}, seconds=60)

    executor.go.set()
    assert {reply.status for reply in await asyncio.gather(one, *crowd)} == {201}


@pytest.mark.usefixtures("tenant_activity")
async def test_few_reads_of_a_busy_project_begin_while_another_project_calls(
    services: Services, plain: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_limit = await given.running_function(services, plain)
    function_id = await given.running_function(services, other, project_id="p2")
    monkeypatch.setattr(edge_module, "LONGEST_PERMIT_SECONDS", 600.0)
    reads = HeldReads(monkeypatch)

    crowd = lists(plain, at_limit, CROWD)
    await until(lambda: services.fair_queue.waiting == CROWD - READS_AT_ONCE, seconds=60)
    one = lists(other, function_id)
    await until(lambda: reads.begun == {"p1": READS_AT_ONCE, "p2": 1}, seconds=60)

    reads.limiter.set()
    assert {reply.status for reply in await asyncio.gather(*one, *crowd)} == {200}
    assert services.fair_queue.waiting == 0


@pytest.mark.usefixtures("tenant_activity")
async def test_slow_request_does_not_block_others_of_its_project(
    services: Services, plain: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    function_id = await given.running_function(services, plain)
    await other.get("/v1/functions")
    monkeypatch.setattr(edge_module, "LONGEST_PERMIT_SECONDS", 0.0)
    reads = HeldReads(monkeypatch)

    crowd = lists(plain, function_id, CROWD)
    await until(lambda: reads.begun["p1"] == CROWD, seconds=60)

    reads.limiter.set()
    assert {reply.status for reply in await asyncio.gather(*crowd)} == {200}


@pytest.mark.usefixtures("tenant_activity")
async def test_refused_caller_starts_no_read_while_other_tenants_call(
    services: Services, plain: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    function_id = await given.running_function(services, plain)
    await other.get("/v1/functions")
    reads = HeldReads(monkeypatch)
    reads.limiter.set()

    [refused] = await asyncio.gather(*lists(plain.with_(x_appwrite_key="wrong"), function_id))

    assert (refused.status, reads.begun.total()) == (401, 0)
