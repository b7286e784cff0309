"""First calls take idle servers, and each server belongs to one deployment for life."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.domain.ports import Limits
from annals.executor.errors import StartFailed, Unsuited
from annals.executor.pool import idle_pool
from tests.unit.executor.drivers import Host, until


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(idle_pool, "REST_SECONDS", 0.0)
    monkeypatch.setattr(idle_pool, "RETRY_SECONDS", 0.1)
    with TemporaryDirectory(prefix="rs-", dir="/tmp") as folder:
        made = Host(Path(folder))
        made.driver.idle = True
        made.pool.open()
        yield made
        await made.pool.close()
        assert all(sandbox.killed for sandbox in made.driver.started)


def idle(host: Host) -> int:
    return host.pool.describe()["idle"]


async def test_unused_runtimes_have_no_idle_instances(host: Host) -> None:
    await asyncio.sleep(0.05)

    assert host.driver.started == []


async def test_named_runtime_is_ready_from_the_start(host: Host) -> None:
    await host.remake(idle_pool={"fake-1": 1})
    await until(lambda: idle(host) == 1)

    [sandbox] = host.driver.started
    assert (sandbox.code, sandbox.rested) == (None, True)


async def test_first_call_takes_an_idle_instance_and_the_pool_starts_another(host: Host) -> None:
    host.pool.expect("fake-1")
    await until(lambda: idle(host) == 2)
    outcome = await host.call(environment={"GREETING": "hi"}, limits=Limits(cpus=2, memory_mb=99))

    assert (outcome.body, outcome.cold) == (b"hello", True)
    [task] = host.driver.started[0].specialised
    assert task.environment["GREETING"] == "hi"
    assert task.limits == Limits(cpus=2, memory_mb=99)
    await until(lambda: idle(host) == 2 and len(host.driver.started) == 3)


async def test_instance_serves_one_deployment_for_life(host: Host) -> None:
    host.pool.expect("fake-1")
    await until(lambda: idle(host) == 2)
    for n in range(6):
        assert (await host.call(deployment=f"d{n}")).reason == ""
    await host.pool.retire_deployment("p", "d0")
    await until(lambda: idle(host) == 2)

    assert all(len(sandbox.specialised) <= 1 for sandbox in host.driver.started)


@pytest.mark.parametrize("name", ["NODE_OPTIONS", "PYTHONPATH", "LD_PRELOAD", "UV_THREADPOOL_SIZE", "LC_ALL"])
async def test_variables_that_interpreters_read_at_start_need_a_new_instance(host: Host, name: str) -> None:
    host.pool.expect("fake-1")
    await until(lambda: idle(host) == 2)
    await host.call(environment={name: "x"})

    assert not any(sandbox.specialised for sandbox in host.driver.started)
    assert host.driver.started[-1].code is not None


async def test_node_env_is_read_when_it_is_asked_for(host: Host) -> None:
    host.pool.expect("fake-1")
    await until(lambda: idle(host) == 2)
    await host.call(environment={"NODE_ENV": "production"})

    assert host.driver.started[0].specialised


async def test_call_survives_an_idle_instance_that_died_or_fails(host: Host) -> None:
    host.pool.expect("fake-1")
    await until(lambda: idle(host) == 2)
    for sandbox in host.driver.started:
        sandbox.error = StartFailed("It is broken.")
    outcome = await host.call()

    assert outcome.reason == ""
    assert host.driver.started[0].killed


async def test_instance_that_cannot_be_specialised_stays_in_the_pool(host: Host) -> None:
    host.pool.expect("fake-1")
    await until(lambda: idle(host) == 2)
    for sandbox in host.driver.started:
        sandbox.error = Unsuited("Too many files.")
    assert (await host.call()).reason == ""

    assert idle(host) == 2
    assert not host.driver.started[0].killed


async def test_failed_start_of_an_idle_instance_is_repeated_later(host: Host) -> None:
    host.driver.fault = StartFailed("No interpreter.")
    host.pool.expect("fake-1")
    await asyncio.sleep(0.05)
    assert idle(host) == 0
    host.driver.fault = None

    await until(lambda: idle(host) == 2)


async def test_idle_instances_of_an_unused_runtime_are_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.pool.expect("fake-1")
    await until(lambda: idle(host) == 2)
    monkeypatch.setattr(idle_pool, "UNUSED_SECONDS", 0.0)

    await until(lambda: idle(host) == 0)
    assert all(sandbox.killed for sandbox in host.driver.started[:2])
