"""The compression of states: when a log starts it, and that readers see no difference."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from annals.application.event_log import inline
from annals.domain.execution import CallRequest, Execution, Header, RunRecord
from annals.projections.inline import CONSTRAINT_ERRORS
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.errors import UnreadableEvent
from annals.store.log import append_modes
from annals.store.log.log import ASKS_SECONDS, EventLog, Meta
from annals.store.log.request import AppendRequest
from annals.store.postgres.database import Database
from annals.store.postgres.migrate import migrate


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[EventLog]:
    database = await Database.open(url)
    log = await EventLog.open(
        database, contents=Contents(database, Blobs.open(folder)), inline=inline, constraint_errors=CONSTRAINT_ERRORS
    )
    try:
        yield log
    finally:
        await log.close()
        await database.close()


async def execute(log: EventLog, name: str) -> Execution:
    requested = await log.run(
        Execution.request_run,
        Execution.absent("p", name),
        meta=Meta(actor="key:k", request="r", correlation="r"),
        project_id="p",
        function_id="f",
        function_incarnation=1,
        function_version=1,
        execution_id=name,
        deployment_id="d",
        trigger="http",
        request=CallRequest(method="GET", path="/"),
        worker="api-1",
    )
    (execution,) = requested.aggregates
    assert isinstance(execution, Execution)
    ran = RunRecord(deployment_id="d", function_version=1, environment_digest="e", specification="s-1vcpu-512mb")
    execution.complete(1, status_code=200, headers=[Header("content-type", "text/plain")], ran=ran)
    await log.record([execution], meta=Meta(actor="key:k"))
    return execution


async def first_bytes(log: EventLog, name: str) -> Sequence[bytes]:
    rows = await log.database.rows("SELECT state FROM events WHERE originator_id = %s", (Execution.stream("p", name),))
    return [row["state"][:1] for row in rows]


async def test_new_log_compresses_states_and_reads_them_back(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path) as log:
        await execute(log, "one")

        recorded_events = await log.reader.after(0, 10)
        assert await first_bytes(log, "one") == [b"\x01", b"\x01"]
        assert [type(recorded_event.event) for recorded_event in recorded_events] == [
            Execution.Requested,
            Execution.Completed,
        ]
        assert (await log.load(Execution.key("p", "one"))).status == "completed"


async def test_states_stay_plain_until_the_last_step_of_an_upgrade(empty_database_url: str, tmp_path: Path) -> None:
    migrate(empty_database_url, stage="pre")
    async with opened(empty_database_url, tmp_path) as log:
        await execute(log, "before")
        migrate(empty_database_url)
        await execute(log, "meanwhile")
        log._asks_at -= ASKS_SECONDS
        await execute(log, "after")

        assert await first_bytes(log, "before") == await first_bytes(log, "meanwhile") == [b"{", b"{"]
        assert await first_bytes(log, "after") == [b"\x01", b"\x01"]
        assert [(await log.load(Execution.key("p", name))).status for name in ("before", "meanwhile", "after")] == [
            "completed"
        ] * 3


@pytest.mark.parametrize("were", [True, False])
async def test_append_finds_its_own_events_in_either_form(database_url: str, tmp_path: Path, were: bool) -> None:
    """The answer of the append was lost; the same state may have other compressed bytes."""
    async with opened(database_url, tmp_path) as log:
        log.mapper.compacts = were
        await execute(log, "one")
        events = [recorded_event.event for recorded_event in await log.reader.after(0, 10)]
        log.mapper.compacts = not were
        conn = await log.database.connect("test")
        async with conn:
            again = AppendRequest([log.mapper.to_stored_event(event) for event in events], [], [])
            found = await append_modes.stored(conn, again)
            await log.database.execute("UPDATE events SET state = '\\x0140' WHERE originator_version = 2")
            altered = await append_modes.stored(conn, again)

    assert found is not None
    assert len(found.positions) == 2
    assert altered is None


async def test_damaged_state_is_named_with_its_event(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path) as log:
        await execute(log, "one")
        await log.database.execute("UPDATE events SET state = set_byte(state, 1, 255) WHERE originator_version = 2")

        with pytest.raises(UnreadableEvent, match=r"Event 2 of execution:p:one \(execution.completed\)"):
            await log.load(Execution.key("p", "one"))
