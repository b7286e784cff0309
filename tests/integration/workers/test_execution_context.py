"""The context of a run: one query, and an environment of the same version."""

import pytest

from annals.application.executions.context import Context, Environments
from annals.application.executions.prepare import Invocation, build_run
from annals.application.executions.record_outcome import used
from annals.domain.environment import InstanceInfo
from annals.domain.errors import FunctionNotFound
from annals.domain.ports import Outcome
from tests.integration.projections.history import History, P
from tests.integration.workers.world import World

PLATFORM = InstanceInfo(endpoint="http://h/v1", version="1.9.6", region="here")


class OpenVault:
    """Opens values that were never sealed, and counts the calls."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str, str, str]] = []

    async def open(self, project: str, owner: str, name: str, sealed: str) -> str:
        self.opened.append((project, owner, name, sealed))
        return sealed.removeprefix("sealed-").lower()


@pytest.fixture
def history(world: World) -> History:
    return History(world.log, world.database)


@pytest.fixture
def vault() -> OpenVault:
    return OpenVault()


@pytest.fixture
def environments(history: History, vault: OpenVault) -> Environments:
    return Environments(history.database, vault, PLATFORM)


async def active(environments: Environments) -> Context:
    context = await environments.active(P, "f")
    assert context is not None
    return context


async def test_context_without_an_active_deployment_has_no_deployment(
    history: History, environments: Environments
) -> None:
    assert await environments.active(P, "f") is None
    await history.function(timeout=33)
    await history.upload("d1")

    context = await active(environments)

    assert (context.timeout, context.incarnation, context.deployment) == (33, history.incarnations["f"], None)


async def test_run_carries_the_environment_and_headers_of_the_code(
    history: History, environments: Environments
) -> None:
    await history.function(timeout=33, runtime_specification="s-0.5vcpu-512mb", logging=False)
    await history.add_variable("v1", "GREETING", secret=True)
    await history.deploy("d1")

    prepared = await environments.of(await active(environments))
    call = Invocation(
        execution_id="e1",
        epoch=1,
        trigger="http",
        method="GET",
        path="/a",
        headers={"X-Custom": "1", "x-appwrite-trigger": "forged"},
        body=b"hi",
        key="dynamic_k",
        client_ip="10.0.0.9",
    )
    run = build_run(prepared, call, start_seconds=30)

    assert (run.project, run.function, run.deployment, run.execution, run.epoch) == (P, "f", "d1", "e1", 1)
    assert (run.runtime, run.entrypoint, run.artefact.key) == ("node-22", "index.js", "artefacts/d1")
    assert (run.limits.cpus, run.limits.memory_mb) == (0.5, 512)
    assert (run.logging, run.run_seconds, run.start_seconds) == (False, 33.0, 30)
    headers = dict(run.headers)
    assert headers["x-custom"] == "1"
    assert headers["x-appwrite-trigger"] == "http"
    assert (headers["x-appwrite-key"], headers["x-appwrite-client-ip"]) == ("dynamic_k", "10.0.0.9")
    assert run.environment["GREETING"] == "greeting"
    assert run.environment["APPWRITE_FUNCTION_CPUS"] == "0.5"
    assert run.environment["APPWRITE_FUNCTION_RUNTIME_NAME"] == "Node.js"
    assert run.environment["APPWRITE_FUNCTION_API_ENDPOINT"] == "http://h/v1"
    recorded_events = used(
        prepared, Outcome(status_code=200, run_seconds=0.0124, start_seconds=1.5, cold=True, host="h")
    )
    assert (recorded_events.run_ms, recorded_events.start_ms, recorded_events.cold, recorded_events.host) == (
        12,
        1500,
        True,
        "h",
    )
    assert (recorded_events.deployment_id, recorded_events.function_version) == ("d1", prepared.context.version)
    assert recorded_events.environment_digest == run.environment_digest


async def test_variables_are_opened_once_for_each_version(
    history: History, environments: Environments, vault: OpenVault
) -> None:
    await history.function()
    await history.add_variable("v1", "A")
    await history.deploy("d1")
    first = await environments.of(await active(environments))
    await environments.of(await active(environments))
    assert vault.opened == [(P, "function:p:f", "v1", "sealed-A")]

    await history.add_variable("v2", "B")
    second = await environments.of(await active(environments))

    assert second.environment.variables["B"] == "b"
    assert second.environment.digest != first.environment.digest


async def test_outdated_context_is_read_again(history: History, environments: Environments) -> None:
    await history.function()
    await history.deploy("d1")
    outdated = await active(environments)
    await history.add_variable("v1", "A")

    prepared = await environments.of(outdated)

    assert prepared.context.version > outdated.version
    assert prepared.environment.variables["A"] == "a"


async def test_function_deleted_meanwhile_is_not_found(history: History, environments: Environments) -> None:
    await history.function()
    await history.deploy("d1")
    outdated = await active(environments)
    await history.delete_function()
    await history.function()

    with pytest.raises(FunctionNotFound):
        await environments.of(outdated)


async def test_build_sees_its_own_deployment_and_at_least_a_gibibyte(
    history: History, environments: Environments
) -> None:
    await history.function(build_specification="s-1vcpu-512mb")
    await history.deploy("d1")
    await history.upload("d2")

    context = await environments.of_deployment(P, "d2")
    assert context is not None
    prepared = await environments.of(context, building=True)

    assert context.deployment is not None
    assert (context.deployment.status, context.deployment.source.key) == ("waiting", "sources/d2")
    assert prepared.environment.variables["APPWRITE_FUNCTION_MEMORY"] == "1024"
    assert prepared.environment.variables["APPWRITE_FUNCTION_DEPLOYMENT"] == "d2"
