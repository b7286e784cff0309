"""Archived events lie in the blob store, and every reader of the log gets them as before.

One file because every test archives the same log.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from annals.domain.commands.executions import sweep_executions
from annals.domain.execution import Execution
from annals.domain.retention import Retention
from annals.eventsourcing import LogApplication
from annals.projections.replay import refill
from annals.projections.replay.replay import check, rebuild
from annals.projections.usage.stream_heads import all_stream_heads
from annals.store.content.blobs import BlobError
from annals.store.log import archives
from annals.store.log.archives import ArchiveDamaged, Archiver, Archives
from annals.store.log.log import EventLog
from annals.store.log.reader import RecordedEvent
from tests.integration.projections.history import META, History
from tests.integration.proof.sealed import Sealed, forge

EXECUTIONS = 300


@pytest.fixture
async def old(history: History, sealed: Sealed) -> Sealed:
    """Return a log of many executions, all but the last few swept, and a function that still changes."""
    await history.function()
    for number in range(EXECUTIONS):
        await history.run(f"e{number}")
    position = await sealed.log.reader.position()
    await sealed.log.run(
        sweep_executions,
        Retention.key("p"),
        meta=META,
        project_id="p",
        function_id="f",
        incarnation=history.incarnations["f"],
        up_to=position - 20,
        reason="age",
    )
    await history.update(name="Later")
    await sealed.seal()
    return sealed


async def whole(log: EventLog, *, project: str | None = None, limit: int = 70) -> list[RecordedEvent]:
    recorded_events: list[RecordedEvent] = []
    while batch := await log.reader.after(
        recorded_events[-1].position if recorded_events else 0, limit, project=project
    ):
        recorded_events += batch
    return recorded_events


async def test_archived_events_leave_the_table_and_are_read_as_before(old: Sealed) -> None:
    before, of_p = await whole(old.log), await whole(old.log, project="p")

    (segment,) = await old.archive()

    left = await old.database.value("SELECT count(*) FROM events WHERE topic LIKE 'execution.%%'")
    assert (segment.first_leaf, segment.end_leaf) == (0, 512)
    assert left == 2 * EXECUTIONS - 2 * (512 // 2) + 4  # but for three events, the first 512 are executions'
    assert await whole(old.log) == before
    assert await whole(old.log, project="p") == of_p
    assert await whole(old.log, project="q") == []
    assert [f.position for f in await old.log.reader.after(10, 5, until=12)] == [11, 12]


async def test_streams_that_commands_fold_stay(old: Sealed, history: History) -> None:
    await old.archive()

    await history.update(name="Last")

    assert (await history.the("functions", "f"))["name"] == "Last"


async def test_archived_execution_is_still_history(old: Sealed) -> None:
    stream = Execution.stream("p", "e7")
    before = await old.log.reader.of_stream(stream)

    await old.archive()

    assert await old.log.reader.of_stream(stream) == before
    assert len(before) == 2
    execution = await old.log.reader.aggregate_at(Execution.key("p", "e7"), before[0].position)
    assert isinstance(execution, Execution)
    assert execution.status == "processing"
    assert await old.log.reader.of_stream(Execution.stream("p", "never")) == []
    assert await old.log.reader.at(before[1].position) == before[1]


async def test_read_models_are_rebuilt_from_archives(old: Sealed) -> None:
    await old.archive()

    found = await check(old.database, old.log.reader, report=lambda _: None)

    assert [one for one in found if not one.same] == []
    await rebuild(old.database, old.log.reader, ("usage",), report=lambda _: None)
    assert await _executions_booked(old) == EXECUTIONS


async def _executions_booked(old: Sealed) -> int:
    query = "SELECT value FROM usage_totals WHERE function_id = 'f' AND metric = 'executions'"
    return int(await old.database.value(query))


async def test_rebuilt_usage_finds_stream_heads_in_an_earlier_archived_batch(
    old: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill, "BATCH", 7)
    await old.archive()

    await rebuild(old.database, old.log.reader, ("usage",), report=lambda _: None)

    assert await _executions_booked(old) == EXECUTIONS


async def test_archived_outcomes_find_their_archived_stream_heads(old: Sealed) -> None:
    """The read begins between the two events, as a recount of usage does."""
    outcomes = [
        recorded_event
        for recorded_event in await whole(old.log, project="p")
        if isinstance(recorded_event.event, Execution.Completed)
    ]
    await old.archive()

    async with old.database.transaction() as conn:
        found = await all_stream_heads(conn, old.log.reader, outcomes)

    assert found.keys() == {Execution.stream("p", f"e{number}") for number in range(EXECUTIONS)}
    assert {(began.function_id, began.trigger) for began in found.values()} == {("f", "http")}


async def test_archived_log_is_verified_with_its_archives(old: Sealed) -> None:
    await old.archive()

    verdict = await old.verify()

    assert verdict.ok
    assert verdict.proven_position == await old.log.reader.position()


async def test_archived_events_left_in_the_table_are_verified(old: Sealed) -> None:
    await old.archive()
    await old.database.execute("DELETE FROM events WHERE topic = 'function.created'")
    await old.database.execute("UPDATE events SET state = '{}' WHERE notification_id = 1")

    faults = await old.faults()

    assert [(fault.kind, fault.position) for fault in faults] == [("altered", 1), ("removed", 3)]


async def test_stream_index_beyond_the_cache_is_read_again(old: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Execution.stream("p", "e7")
    before = await old.log.reader.of_stream(stream)
    await old.archive()
    monkeypatch.setattr(archives, "STREAMS_BYTES", 0)

    for _ in range(2):
        assert await old.log.reader.of_stream(stream) == before


@pytest.mark.parametrize("damage", ["a changed byte", "gone", "empty"])
async def test_damaged_stream_index_of_an_archive_hides_no_stream(old: Sealed, damage: str) -> None:
    blobs, stream = old.destinations.own, Execution.stream("p", "e7")
    (segment,) = await old.archive()
    names = f"{segment.blob}.names"
    packed = await blobs.get(names)
    index = packed.index(archives.stream_hash(stream).to_bytes(8, sys.byteorder))
    changed = packed[:index] + bytes([packed[index] ^ 1]) + packed[index + 1 :]
    if damage == "gone":
        await blobs.delete(names)
    else:
        await blobs.put(names, b"" if damage == "empty" else changed)

    found = await Archives(old.database, blobs).of_streams([stream])

    assert [row.topic for row in found] == ["execution.requested", "execution.completed"]
    assert await blobs.get(names) == packed, "it is made anew"


async def test_archive_that_was_changed_is_refused(old: Sealed) -> None:
    (segment,) = await old.archive()
    packed = bytearray(await old.destinations.own.get(segment.blob))
    packed[len(packed) // 2] ^= 1
    await old.destinations.own.put(segment.blob, bytes(packed))

    with pytest.raises(ArchiveDamaged, match="digest"):
        await Archives(old.database, old.destinations.own).rows(segment)


async def test_archive_that_was_touched_in_any_way_is_found(old: Sealed) -> None:
    """The blob or its row is damaged; after its repair the verification passes again."""
    (segment,) = await old.archive()
    packed = await old.destinations.own.get(segment.blob)
    await old.database.execute("CREATE TABLE untouched AS SELECT * FROM archive_segments")
    touched = {
        "cut": packed[:-100],
        "grown": packed + packed,
        "turned round": packed[::-1],
        "row gone": "DELETE FROM archive_segments",
        "row moved": "UPDATE archive_segments SET end_leaf = end_leaf - 256, last_position = last_position - 256",
        "root altered": "UPDATE archive_segments SET root = sha256(root)",
        "digest altered": "UPDATE archive_segments SET digest = repeat('0', 64)",
        "blob gone": None,
    }
    found = {}
    for case, how in touched.items():
        if how is None:
            await old.destinations.own.delete(segment.blob)
        elif isinstance(how, bytes):
            await old.destinations.own.put(segment.blob, how)
        else:
            await old.database.execute(how)
        found[case] = await _finds(old)
        await old.destinations.own.put(segment.blob, packed)
        await old.database.execute("DELETE FROM archive_segments")
        await old.database.execute("INSERT INTO archive_segments SELECT * FROM untouched")
        assert not await _finds(old), case

    assert found == dict.fromkeys(touched, True)


async def _finds(old: Sealed) -> bool:
    try:
        return not (await old.verify()).ok
    except (ArchiveDamaged, BlobError):
        return True


async def test_archive_rewritten_with_its_row_contradicts_the_checkpoint(old: Sealed) -> None:
    """An attacker who can write the database and the blob store still lacks the key."""
    (segment,) = await old.archive()
    async for info in old.destinations.own.list("seal/tiles"):
        await old.destinations.own.delete(info.key)
    rows = [*await Archives(old.database, old.destinations.own).rows(segment)]
    rows[100] = rows[100]._replace(state=b"{}")
    await forge(old, segment.blob, rows)

    faults = await old.faults()

    assert [fault.kind for fault in faults] == ["seal_altered"]


async def test_proofs_lead_through_archived_leaves(old: Sealed) -> None:
    checkpoint = await old.sealer.sign()
    assert checkpoint is not None
    before = [await old.nodes.inclusion(leaf, checkpoint.size) for leaf in (0, 300, 511, checkpoint.size - 1)]

    await old.archive()

    after = [await old.nodes.inclusion(leaf, checkpoint.size) for leaf in (0, 300, 511, checkpoint.size - 1)]
    assert after == before


async def test_nothing_young_or_unsigned_is_archived(old: Sealed) -> None:
    archiver = Archiver(old.database, old.destinations.own, least_tiles=1)
    assert await archiver.run(datetime.now(UTC) - timedelta(hours=1)) == []

    await old.database.execute("UPDATE seal_checkpoints SET outside_at = NULL")

    assert await archiver.run(datetime.now(UTC) + timedelta(hours=1)) == []


INDEX = {
    "a later beginning": "UPDATE archive_segments SET first_position = first_position + 1",
    "an earlier end": "UPDATE archive_segments SET last_position = last_position - 1",
    "another time": "UPDATE archive_segments SET last_recorded_at = last_recorded_at - interval '1 day'",
}


@pytest.mark.parametrize("case", INDEX)
async def test_altered_index_of_archives_is_found(old: Sealed, case: str) -> None:
    (segment,) = await old.archive()
    assert await old.faults() == []

    await old.database.execute(INDEX[case])

    (fault,) = await old.faults()
    assert (fault.kind, fault.position) == ("seal_altered", segment.first_position)


async def test_index_of_streams_that_hides_one_is_found(old: Sealed) -> None:
    (segment,) = await old.archive()
    names = archives.streams_of(await Archives(old.database, old.destinations.own).rows(segment))
    await old.destinations.own.put(f"{segment.blob}.names", archives.pack_names(names[1:]))

    (fault,) = await old.faults()

    assert (fault.kind, fault.position) == ("seal_altered", segment.first_position)


async def test_applications_of_the_library_read_archived_events(old: Sealed, tmp_path: Path) -> None:
    def read() -> list[tuple[int, str]]:
        environment = {"ANNALS_DATABASE_URL": old.database.url, "ANNALS_DATA": str(tmp_path)}
        with LogApplication(environment) as application:
            found: list[tuple[int, str]] = []
            while page := application.recorder.select_notifications(found[-1][0] + 1 if found else 1, 70):
                found += [(notification.id, notification.topic) for notification in page]
            (stream,) = {str(n.originator_id) for n in application.recorder.select_notifications(found[5][0], 1)}
            events = application.recorder.select_events(stream)
            assert [event.originator_version for event in events] == [*range(1, len(events) + 1)]
            return found

    before = await asyncio.to_thread(read)

    assert await old.archive()

    assert await asyncio.to_thread(read) == before
