"""Requests that were authorized for a project which is deleted, or created again, before their append."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from annals.app.services import Services
from annals.application import deletion
from annals.application.deletion import end_project, end_work
from annals.domain.project import Project
from annals.domain.user import User
from annals.projections.inline import TABLES
from annals.projections.replay.replay import check
from annals.settings import Settings
from annals.store.log.log import Meta, Recorded
from annals.store.log.request import Appended, AppendRequest, Incarnation
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.given import user
from tests.integration.edge.reuse import META, another_process, recreate

PROCESS = tuple[Services, Client]
Write = Callable[[Client], Awaitable[Reply]]

CREATIONS: dict[str, Write] = {
    "user": lambda client: client.post("/v1/users", userId="ada", name="straggler"),
    "team": lambda client: client.post("/v1/teams", teamId="crew", name="straggler"),
    "function": lambda client: client.post("/v1/functions", functionId="g", name="straggler", runtime="node-22"),
}
"""Writes that begin a stream of their own, independent of the project's other resources."""

CHANGES: dict[str, Write] = {
    "rule": lambda client: client.post("/v1/proxy/rules/function", domain="straggler.test", functionId="f"),
    "platform": lambda client: client.post(
        "/v1/project/platforms/web", platformId="site", name="straggler", hostname="straggler.test"
    ),
    "membership": lambda client: client.post("/v1/teams/t/memberships", userId="bob", roles=["straggler"]),
    "user's name": lambda client: client.patch("/v1/users/bob/name", name="straggler"),
    "function's name": lambda client: client.put("/v1/functions/f", name="straggler"),
    "policy": lambda client: client.put("/v1/functions/f/policy", scaling={"concurrency": 3}),
    "session": lambda client: client.post("/v1/users/bob/sessions"),
    "service switch": lambda client: client.patch("/v1/project/services/teams", enabled=False),
}
"""Writes to a stream that also exists in a successor with the same contents."""

WRITES = {**CREATIONS, **CHANGES}
every_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)

ROWS = tuple(table for table in TABLES if table not in {"projects", "counters"})


@pytest.fixture
async def other(services: Services, settings: Settings, executor: FakeExecutor) -> AsyncIterator[PROCESS]:
    async with another_process(settings, executor) as opened:
        yield opened


async def _populate(client: Client) -> None:
    await given.function(client, functionId="f")
    await user(client, "bob", email="bob@x.test")
    assert (await client.post("/v1/teams", teamId="t", name="t")).status == 201


def _before_append(
    services: Services, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[Any]]
) -> list[AppendRequest]:
    """Run `work` before the next append of this process reaches the database; return its appends."""
    held: list[AppendRequest] = []
    append = services.log.appender.append

    async def append_later(request: AppendRequest) -> Appended:
        held.append(request)
        if len(held) == 1:
            await work()
        return await append(request)

    monkeypatch.setattr(services.log.appender, "append", append_later)
    return held


async def _rows(services: Services) -> dict[str, list[dict[str, Any]]]:
    """Return every row of the project p1, by table."""
    query = "SELECT to_jsonb(t) AS row FROM {} t WHERE project_id = 'p1' ORDER BY to_jsonb(t)::text"
    return {table: [one["row"] for one in await services.database.rows(query.format(table))] for table in ROWS}


async def _differences(services: Services) -> list[Any]:
    compared = await check(services.database, services.log.reader, TABLES, report=lambda _: None)
    assert {one.table for one in compared} >= set(ROWS)
    return [one for one in compared if not one.same]


@every_write
async def test_append_after_the_deletion_records_nothing(
    plain: Client, services: Services, other: PROCESS, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _populate(plain)
    _before_append(services, monkeypatch, lambda: end_project(other[0].log, "p1", META))

    reply = await write(plain)

    assert reply.status == 404, reply.body
    if write in CREATIONS.values():
        assert reply.error == (404, "project_not_found")
    assert not any((await _rows(services)).values())
    assert await _differences(services) == []


@every_write
async def test_append_in_a_successor_with_other_keys_is_refused(
    plain: Client, services: Services, other: PROCESS, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    their_services, theirs = other
    owner = theirs.with_(x_appwrite_key="another secret")
    await _populate(plain)
    before: list[dict[str, list[dict[str, Any]]]] = []

    async def again() -> None:
        await recreate(their_services, api_key="another secret")
        await _populate(owner)
        before.append(await _rows(their_services))

    _before_append(services, monkeypatch, again)

    reply = await write(plain)

    assert reply.error == (401, "user_unauthorized")
    assert await _rows(services) == before[0]
    assert b"straggler" not in b"".join([(await owner.get(f"/v1/{kind}")).body for kind in ("users", "teams")])
    assert await _differences(services) == []


@every_write
async def test_append_in_a_successor_with_the_same_key_is_authorized_again(
    plain: Client, services: Services, other: PROCESS, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    their_services, theirs = other
    await _populate(plain)
    since: list[int] = []

    async def again() -> None:
        since.append(await recreate(their_services))
        await _populate(theirs)

    held = _before_append(services, monkeypatch, again)

    reply = await write(plain)

    assert reply.status in {200, 201}, reply.body
    assert [one.incarnation.position for one in held if one.incarnation is not None][-1] == since[0]
    assert held[0].incarnation != held[-1].incarnation
    assert await _differences(services) == []


async def test_project_that_is_replaced_twice_is_a_conflict(
    plain: Client, services: Services, other: PROCESS, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = services.log.appender.append

    async def append_later(request: AppendRequest) -> Appended:
        await recreate(other[0])
        return await append(request)

    monkeypatch.setattr(services.log.appender, "append", append_later)

    assert (await CREATIONS["user"](plain)).error == (409, "general_conflict")
    assert not (await _rows(services))["users"]


async def test_upload_for_a_replaced_project_is_a_conflict(
    plain: Client, services: Services, other: PROCESS, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _populate(plain)

    async def again() -> None:
        await recreate(other[0])
        await _populate(other[1])

    _before_append(services, monkeypatch, again)

    reply = await plain.upload("/v1/functions/f/deployments", {"activate": "true"}, file=given.SOURCE)

    assert reply.error == (409, "general_conflict")
    assert not (await _rows(services))["deployments"]


async def test_dry_run_is_checked_as_the_append_would_be(
    plain: Client, services: Services, other: PROCESS, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = services.log.appender.attempt

    async def attempt_later(request: AppendRequest) -> Appended:
        await end_project(other[0].log, "p1", META)
        return await attempt(request)

    monkeypatch.setattr(services.log.appender, "attempt", attempt_later)

    sent = {"content_type": "application/json", "body": b'{"userId":"ada"}'}
    reply = await plain.send("POST", "/v1/users", query="dryRun=true", **sent)  # type: ignore[arg-type]

    assert reply.error == (404, "project_not_found")


async def test_events_do_not_keep_the_incarnation_of_their_request(plain: Client, services: Services) -> None:
    await user(plain, "ada")
    (event,) = [
        recorded_event.event
        for recorded_event in await services.log.reader.after(0, 1000)
        if isinstance(recorded_event.event, User.Created)
    ]
    assert "incarnation" not in event.metadata
    assert event.metadata["actor"].startswith("key:")


async def test_user_created_during_the_deletion_goes_with_the_project(
    plain: Client, services: Services, other: PROCESS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's stream must end too: otherwise no later project of the same id could have this user."""
    ends = 0

    async def then_create(*words: Any, **recorded_events: Any) -> None:
        nonlocal ends
        ends += 1
        await end_work(*words, **recorded_events)
        if ends == 1:  # users are deleted by now
            await user(plain, "late", email="late@x.test")

    monkeypatch.setattr(deletion, "end_work", then_create)

    await recreate(services)

    assert ends == 2
    assert (await user(plain, "late", name="successor's"))["name"] == "successor's"
    assert await _differences(services) == []


async def test_deletion_and_creation_of_one_moment_never_share_a_transaction(plain: Client, services: Services) -> None:
    """Requests of one process that wait together are one batch. The deletion must not be among them."""
    made = (await plain.get("/v1/project/history")).json["events"][0]["position"]
    meta = Meta(actor="test", incarnation=Incarnation("p1", made))
    recorded_events: dict[str, Any] = {"name": "", "email": "", "phone": "", "sealed_password": ""}
    project = await services.log.load(Project.key("p1"))
    Project.delete(project)

    async def create(number: int) -> Recorded:
        own_id = f"u{number}"
        return await services.log.run(
            User.create, User.absent("p1", own_id), meta=meta, project_id="p1", user_id=own_id, **recorded_events
        )

    deletion = services.log.record([project], meta=META)
    outcomes = await asyncio.gather(deletion, *(create(number) for number in range(20)), return_exceptions=True)

    assert isinstance(outcomes[0], Recorded)
    assert {type(outcome).__name__ for outcome in outcomes[1:]} == {"ProjectReplaced"}
    assert not any((await _rows(services)).values())
