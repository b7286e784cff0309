"""Answers while Postgres or the blob store is unavailable, and recovery without a restart."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annals.app.services import Services
from annals.domain.ports import Outcome
from annals.settings import Settings
from annals.store.errors import StoreUnavailable
from annals.store.log.log import Recorded
from annals.store.postgres.migrate import migrate
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor
from tests.integration.postgres import Postgres


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        migrate(server.url())
        yield server
    finally:
        server.close()


@pytest.fixture
def settings(own_postgres: Postgres, tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, database_url=own_postgres.url(), functions_create_quota=0)


@pytest.fixture
async def function_id(plain: Client) -> str:
    return await given.function(plain)


async def answered(client: Client, path: str) -> Reply:
    """Return the first answer that is not a 503."""
    async with asyncio.timeout(120):
        while (reply := await client.get(path)).status == 503:
            await asyncio.sleep(0.05)
    return reply


async def test_missing_database_answers_503_with_retry_after(
    own_postgres: Postgres, plain: Client, function_id: str
) -> None:
    path = f"/v1/functions/{function_id}"
    own_postgres.crash()
    replies = await asyncio.gather(
        plain.get(path),
        plain.put(path, name="b"),
        plain.get("/v1/functions/nope"),
        plain.delete(path),
        plain.get("/v1/functions/usage"),
        plain.get("/v1/usage"),
        plain.get("/v1/events"),
        plain.put(f"{path}?dryRun=true", name="b"),
    )
    for reply in replies:
        assert reply.error == (503, "general_service_unavailable")
        assert int(reply.headers["retry-after"]) > 0
    assert (await plain.get("/v1/functions/runtimes")).status == 503  # the key cannot be verified meanwhile

    own_postgres.start()
    assert (await answered(plain, path)).json["name"] == "fn"
    assert (await plain.put(path, name="b")).json["name"] == "b"


async def test_only_writes_to_aggregates_of_a_newer_version_answer_503(
    services: Services, plain: Client, function_id: str
) -> None:
    other = await given.function(plain)
    await services.database.execute(
        "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
        " SELECT originator_id, originator_version + 1, 'function.of_tomorrow', '{}', now() FROM events"
        " WHERE originator_id LIKE %s",
        (f"function:%:{function_id}",),
    )

    reply = await plain.put(f"/v1/functions/{function_id}", name="b")
    assert reply.error == (503, "general_service_unavailable")
    assert int(reply.headers["retry-after"]) > 0
    assert (await plain.get(f"/v1/functions/{function_id}")).json["name"] == "fn"
    assert (await plain.put(f"/v1/functions/{other}", name="b")).json["name"] == "b"


async def test_failing_statement_does_not_fail_others_in_its_batch(
    services: Services, plain: Client, function_id: str
) -> None:
    good = services.reads.rows("SELECT 1 AS one", ())
    bad = services.reads.rows("SELECT 1 / %s::int AS one", (0,))
    read = plain.get(f"/v1/functions/{function_id}")
    found, failed, reply = await asyncio.gather(good, bad, read, return_exceptions=True)

    assert not isinstance(found, BaseException)
    assert found.rows[0]["one"] == 1
    assert isinstance(failed, Exception)
    assert isinstance(reply, Reply)
    assert reply.status == 200


async def test_upload_that_cannot_be_stored_is_refused_and_can_be_repeated(
    settings: Settings, plain: Client, function_id: str
) -> None:
    path = f"/v1/functions/{function_id}/deployments"
    blobs = settings.folder / "blobs"
    sources = blobs / "sources"
    sources.write_text("in the way")

    reply = await plain.upload(path, {"activate": "true"}, file=given.SOURCE)
    assert reply.error == (503, "general_service_unavailable")
    assert (await plain.get(path)).json["total"] == 0

    sources.unlink()
    assert (await plain.upload(path, {"activate": "true"}, file=given.SOURCE)).status == 202


@pytest.mark.parametrize("status", [200, 500])
async def test_call_whose_output_cannot_be_stored_ends_with_a_message(
    settings: Settings, services: Services, executor: FakeExecutor, plain: Client, status: int
) -> None:
    executor.answer = lambda _run: Outcome(status_code=status, body=b"hello", logs="x" * 100_000)
    function_id = await given.running_function(services, plain)
    (settings.folder / "blobs" / "contents").write_text("in the way")

    reply = await given.execute(plain, function_id)

    assert (reply.status, reply.json["responseBody"], reply.json["responseStatusCode"]) == (201, "hello", status)
    stored = (await plain.get(f"/v1/functions/{function_id}/executions/{reply.json['$id']}")).json
    assert (stored["status"], stored["logs"]) == ({200: "completed", 500: "failed"}[status], "")
    assert "could not be kept" in stored["errors"]


async def test_reads_survive_a_migration_of_their_prepared_statements(
    own_postgres: Postgres, plain: Client, function_id: str
) -> None:
    path = f"/v1/functions/{function_id}"
    for number in range(8):
        await plain.put(path, name=f"n{number}")
        assert (await plain.get(path)).json["name"] == f"n{number}"
    own_postgres.execute("ALTER TABLE functions ADD COLUMN later text")

    await plain.put(path, name="after")
    assert (await plain.get(path)).json["name"] == "after"


class StoreAway:
    """An event store that accepts the first `takes` records of executions and then none, until it is `back`."""

    def __init__(self, services: Services, monkeypatch: pytest.MonkeyPatch, takes: int) -> None:
        self.back, self._takes = False, takes
        self._record = services.log.record
        monkeypatch.setattr(services.log, "record", self.record)

    async def record(self, *args: Any, **recorded_events: Any) -> Recorded:
        if not self.back and self._takes <= 0:
            raise StoreUnavailable
        self._takes -= 1
        return await self._record(*args, **recorded_events)


async def ended(client: Client, function_id: str) -> dict[str, Any]:
    """Return the only execution of a function once it has ended."""
    async with asyncio.timeout(60):
        while True:
            listed = (await client.get(f"/v1/functions/{function_id}/executions")).json["executions"]
            if listed and listed[0]["status"] in {"completed", "failed"}:
                [execution] = listed
                return dict(execution)
            await asyncio.sleep(0.05)


@pytest.fixture
def recorded_before(executor: FakeExecutor) -> None:
    """Code that writes so much that its request is recorded before its end."""
    executor.answer = lambda _run: Outcome(status_code=200, body=b"hello", logs="x" * 10_000)


@pytest.mark.usefixtures("recorded_before")
async def test_end_of_a_call_is_recorded_once_the_store_is_back(
    services: Services, plain: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    function_id = await given.running_function(services, plain)
    store = StoreAway(services, monkeypatch, takes=1)

    reply = await given.execute(plain, function_id)
    assert reply.error == (503, "general_service_unavailable")
    store.back = True

    execution = await ended(plain, function_id)
    assert (execution["status"], execution["responseStatusCode"]) == ("completed", 200)


@pytest.mark.usefixtures("recorded_before")
async def test_call_with_an_unacknowledged_start_ends(
    services: Services, plain: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    function_id = await given.running_function(services, plain)
    record, lost = services.log.record, list[Recorded]()

    async def unanswered(*args: Any, **recorded_events: Any) -> Recorded:
        recorded = await record(*args, **recorded_events)
        if not lost:
            lost.append(recorded)
            raise StoreUnavailable
        return recorded

    monkeypatch.setattr(services.log, "record", unanswered)

    assert (await given.execute(plain, function_id)).error == (503, "general_service_unavailable")

    execution = await ended(plain, function_id)
    assert execution["status"] == "failed"
    assert "The event store was away" in execution["errors"]


async def test_call_without_a_recorded_start_leaves_nothing(
    services: Services, plain: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    function_id = await given.running_function(services, plain)
    store = StoreAway(services, monkeypatch, takes=0)

    assert (await given.execute(plain, function_id)).status == 503
    store.back = True

    assert (await given.execute(plain, function_id)).status == 201
    assert (await plain.get(f"/v1/functions/{function_id}/executions")).json["total"] == 1
