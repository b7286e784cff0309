"""Data keys live as long as their project's incarnation: no acknowledged value is sealed by a deleted key."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from annals.app.services import Services
from annals.application.deletion import end_project
from annals.settings import Settings
from annals.store.content.inputs import open_input
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.given import execute, function, running_function, user
from tests.integration.edge.reuse import META, another_process, recreate
from tests.integration.edge.test_as_of import follow

PROCESS = tuple[Services, Client]


@pytest.fixture
async def other(services: Services, settings: Settings, executor: FakeExecutor) -> AsyncIterator[PROCESS]:
    async with another_process(settings, executor) as opened:
        yield opened


async def _project_variable(client: Client) -> Reply:
    return await client.post("/v1/project/variables", variableId="v1", key="K", value="kept", secret=False)


async def _function_variable(client: Client) -> Reply:
    return await client.post("/v1/functions/f/variables", variableId="v1", key="K", value="kept", secret=False)


async def _user(client: Client) -> Reply:
    return await client.post("/v1/users", userId="ada", email="ada@x.test", password="password8")


async def _password(client: Client) -> Reply:
    return await client.patch("/v1/users/bob/password", password="password8")


async def _input(client: Client) -> Reply:
    return await execute(client, "f", async_=True, body="kept")


async def _read_project_variable(_services: Services, client: Client) -> bool:
    return bool((await client.get("/v1/project/variables/v1")).json["value"] == "kept")


async def _read_function_variable(_services: Services, client: Client) -> bool:
    return bool((await client.get("/v1/functions/f/variables/v1")).json["value"] == "kept")


def _signs_in(email: str) -> "Reads":
    async def read(_services: Services, client: Client) -> bool:
        guest = client.with_(x_appwrite_key=None)
        return (await guest.post("/v1/account/sessions/email", email=email, password="password8")).status == 201

    return read


async def _read_input(services: Services, client: Client) -> bool:
    (row,) = await services.database.rows("SELECT stream_id FROM executions ORDER BY sequence DESC LIMIT 1")
    sealed = await services.log.contents.read(row["stream_id"], "input")
    return (await open_input(services.vault, "p1", row["stream_id"], sealed)).body == b"kept"


Writes = Callable[[Client], Awaitable[Reply]]
Reads = Callable[[Services, Client], Awaitable[bool]]
Kind = tuple[Writes, Reads]
"""How a value of a kind is set, and whether it can be read."""

SEALED: dict[str, Kind] = {
    "project variable": (_project_variable, _read_project_variable),
    "function variable": (_function_variable, _read_function_variable),
    "new user": (_user, _signs_in("ada@x.test")),
    "password": (_password, _signs_in("bob@x.test")),
    "input of an execution": (_input, _read_input),
}
sealed_values = pytest.mark.parametrize("kind", SEALED.values(), ids=SEALED)


async def _populate(services: Services, client: Client) -> None:
    await running_function(services, client, functionId="f")
    await user(client, "bob", email="bob@x.test")


async def _again(services: Services, client: Client) -> None:
    await recreate(services)
    await _populate(services, client)


@sealed_values
async def test_value_set_after_a_recreation_is_readable_in_every_process(
    plain: Client, services: Services, other: PROCESS, kind: Kind
) -> None:
    (write, read), (their_services, theirs) = kind, other
    await _populate(services, plain)
    assert (await write(plain)).status in {200, 201, 202}  # the process has cached the former key
    await _again(their_services, theirs)

    reply = await write(plain)

    assert reply.status in {200, 201, 202}, reply.body
    assert await read(services, plain)
    assert await read(their_services, theirs)


@sealed_values
async def test_recreation_between_sealing_and_append_seals_again(
    plain: Client, services: Services, other: PROCESS, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    (write, read), (their_services, theirs) = kind, other
    await _populate(services, plain)
    sealed = _after_sealing(services, monkeypatch, lambda: _again(their_services, theirs))

    reply = await write(plain)

    assert reply.status in {200, 201, 202}, reply.body
    assert len(sealed) == 2
    assert await read(services, plain)
    assert await read(their_services, theirs)


@sealed_values
async def test_caller_whose_key_went_with_the_project_records_nothing_in_its_successor(
    plain: Client, services: Services, other: PROCESS, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    (write, _), (their_services, theirs) = kind, other
    await _populate(services, plain)
    owner = theirs.with_(x_appwrite_key="another secret")

    async def again() -> None:
        await recreate(their_services, api_key="another secret")
        await _populate(their_services, owner)

    _after_sealing(services, monkeypatch, again)

    assert (await write(plain)).error == (401, "user_unauthorized")
    monkeypatch.undo()
    assert (await owner.get("/v1/project/variables")).json["total"] == 0
    assert (await owner.get("/v1/functions/f/variables")).json["total"] == 0
    assert (await owner.get("/v1/functions/f/executions")).json["total"] == 0
    assert [one["$id"] for one in (await owner.get("/v1/users")).json["users"]] == ["bob"]


async def test_project_deleted_between_sealing_and_append_is_not_found(
    plain: Client, services: Services, other: PROCESS, monkeypatch: pytest.MonkeyPatch
) -> None:
    _after_sealing(services, monkeypatch, lambda: end_project(other[0].log, "p1", META))

    assert (await _user(plain)).error == (404, "project_not_found")
    assert await services.database.value("SELECT count(*) FROM users WHERE project_id = 'p1'") == 0
    assert await services.database.value("SELECT count(*) FROM data_keys WHERE project = 'p1'") == 0


async def test_stale_cached_key_never_seals_a_recorded_value(
    plain: Client, services: Services, other: PROCESS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the notification and the confirmation, the append's own check holds."""
    monkeypatch.setattr("annals.store.secrets.vault.FRESH_SECONDS", 3600.0)
    monkeypatch.setattr(services.vault, "confirm", lambda _project, _key: None)
    assert (await _project_variable(plain)).status == 201
    stale = services.vault._keys["p1"]
    await recreate(other[0])
    services.vault._keys["p1"] = stale
    forget = services.vault.forget

    def forgets(project: str | None) -> None:
        if project is not None:
            services.vault._keys.pop(project, None)
        else:
            forget(project)

    monkeypatch.setattr(services.vault, "forget", forgets)

    reply = await _project_variable(plain)

    assert reply.status == 201, reply.body
    assert await _read_project_variable(*other)


async def test_deleted_data_key_answers_410(plain: Client, services: Services) -> None:
    """For past states. In live reads a value that lost its key is empty, so that it can be set again."""
    assert (await _project_variable(plain)).status == 201
    await function(plain, functionId="f")
    variable = {"variableId": "v2", "key": "K", "value": "kept", "secret": False}
    assert (await plain.post("/v1/functions/f/variables", **variable)).status == 201
    then = str(await services.log.reader.position())
    await follow(services)
    await services.database.execute("DELETE FROM data_keys WHERE project = 'p1'")

    for path in ("/v1/functions/f", "/v1/functions/f/variables", "/v1/functions/f/variables/v2"):
        reply = await plain.get(path, asOf=then)
        assert reply.error == (410, "data_key_deleted")
        assert "Set it again" in reply.message
    for path in ("/v1/project/variables/v1", "/v1/functions/f/variables/v2"):
        reply = await plain.get(path)
        assert (reply.status, reply.json["value"]) == (200, "")

    reply = await plain.put("/v1/project/variables/v1", key="K", value="set again")
    assert (reply.status, reply.json["value"]) == (200, "set again")


async def test_revert_never_brings_back_a_value_of_a_deleted_key(plain: Client, services: Services) -> None:
    await function(plain, functionId="f")
    assert (await _function_variable(plain)).status == 201
    then = (await plain.get("/v1/functions/f")).headers["x-annals-position"]
    assert (await plain.delete("/v1/functions/f/variables/v1")).status == 204
    await services.database.execute("DELETE FROM data_keys WHERE project = 'p1'")

    reply = await plain.post("/v1/functions/f/revert", to=int(then))

    assert reply.error == (410, "data_key_deleted")


def _after_sealing(
    services: Services, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[Any]]
) -> list[str]:
    """Run `work` once, after the next value that this process seals; return the owners of the sealed values."""
    sealed: list[str] = []
    seal = services.vault.seal

    async def seal_then(project: str, owner: str, name: str, plaintext: str) -> str:
        value = await seal(project, owner, name, plaintext)
        sealed.append(owner)
        if len(sealed) == 1:
            await work()
        return value

    monkeypatch.setattr(services.vault, "seal", seal_then)
    return sealed
