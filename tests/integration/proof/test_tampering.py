"""Verification finds every change of a sealed log by SQL, and names the first position."""

from collections.abc import Awaitable, Callable

import pytest

from annals.store.postgres.database import Database
from tests.integration.proof.sealed import Sealed, fill

EVENTS = 700
"""The number of events, more than two tiles of leaves, so that some tiles are full and one grows."""

Tamper = Callable[[Database], Awaitable[object]]


@pytest.fixture
async def long(sealed: Sealed) -> Sealed:
    """Return a log with positions 1 to EVENTS, sealed in two steps."""
    await fill(sealed.database, 400)
    await sealed.seal()
    await fill(sealed.database, EVENTS - 400, project="q")
    await sealed.seal()
    return sealed


async def test_untouched_log_verifies(long: Sealed) -> None:
    verdict = await long.verify()

    assert verdict.ok
    assert (verdict.events, verdict.proven_position, verdict.unsealed) == (EVENTS, EVENTS, 0)
    assert (verdict.checkpoints, verdict.outside_checkpoints) == (2, 4)  # both places have both


async def test_new_events_are_counted_as_unsealed(long: Sealed) -> None:
    await fill(long.database, 3, project="r")

    verdict = await long.verify()

    assert verdict.ok
    assert (verdict.proven_position, verdict.unsealed) == (EVENTS, 3)


_SWAP = (
    "UPDATE events SET notification_id = CASE notification_id WHEN {0} THEN -{1} ELSE -{0} END"
    " WHERE notification_id IN ({0}, {1});"
    "UPDATE events SET notification_id = -notification_id WHERE notification_id < 0"
)
_SWAP_STATES = (
    "UPDATE events e SET state = o.state FROM events o"
    " WHERE (e.notification_id, o.notification_id) IN ((300, 301), (301, 300))"
)
_INSERT = (
    "INSERT INTO events (notification_id, originator_id, originator_version, topic, state, recorded_at)"
    " SELECT {0}, 'execution:p:forged', 1, topic, state, recorded_at FROM events WHERE notification_id = 299"
)

MATRIX = {
    "an altered state": ("UPDATE events SET state = state || ' ' WHERE notification_id = 300", "altered", 300),
    "an altered state that was compressed": (
        "UPDATE events SET state = state || ' ' WHERE notification_id = 301", "altered", 301,
    ),
    "another state of the same form": (
        "UPDATE events SET state = (SELECT state FROM events WHERE notification_id = 305) WHERE notification_id = 301",
        "altered", 301,
    ),
    "a flipped bit within a compressed state": (
        "UPDATE events SET state = set_bit(state, 60, 1 - get_bit(state, 60)) WHERE notification_id = 301",
        "altered", 301,
    ),
    "another dictionary": (
        "UPDATE events SET state = set_byte(state, 0, 7) WHERE notification_id = 301", "altered", 301,
    ),
    "an altered topic": ("UPDATE events SET topic = 'execution.failed' WHERE notification_id = 1", "altered", 1),
    "an altered stream": (
        "UPDATE events SET originator_id = 'execution:q:y' WHERE notification_id = 256", "altered", 256,
    ),
    "an altered version": ("UPDATE events SET originator_version = 2 WHERE notification_id = 257", "altered", 257),
    "an altered time": (
        "UPDATE events SET recorded_at = recorded_at - interval '1 ms' WHERE notification_id = 700", "altered", 700,
    ),
    "a time altered by less than a millisecond": (
        "UPDATE events SET recorded_at = recorded_at + interval '499 microseconds' WHERE notification_id = 300",
        "altered", 300,
    ),
    "a time altered by a microsecond": (
        "UPDATE events SET recorded_at = recorded_at - interval '1 microsecond' WHERE notification_id = 256",
        "altered", 256,
    ),
    "times of two events altered by a microsecond": (
        "UPDATE events SET recorded_at = recorded_at + interval '1 microsecond' WHERE notification_id IN (30, 300)",
        "altered", 30,
    ),
    "an event shown to another project": (
        "ALTER TABLE events ALTER COLUMN project DROP EXPRESSION;"
        "UPDATE events SET project = 'forged' WHERE notification_id = 300", "altered", 300,
    ),
    "a moved event": ("UPDATE events SET notification_id = 90000 WHERE notification_id = 512", "removed", 512),
    "a deleted event": ("DELETE FROM events WHERE notification_id = 300", "removed", 300),
    "a deleted first event": ("DELETE FROM events WHERE notification_id = 1", "removed", 1),
    "a deleted stretch": ("DELETE FROM events WHERE notification_id BETWEEN 200 AND 600", "removed", 200),
    "two swapped events": (_SWAP.format(300, 301), "swapped", 300),
    "two events swapped over tiles": (_SWAP.format(10, 690), "swapped", 10),
    "two swapped states": (_SWAP_STATES, "swapped", 300),
    "an event before all others": (_INSERT.format(0), "inserted", 0),
    "a cut tail": ("DELETE FROM events WHERE notification_id > 650", "removed", 651),
    "everything gone": ("DELETE FROM events", "removed", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", MATRIX)
async def test_tampering_with_events_is_found_and_located(long: Sealed, case: str) -> None:
    statements, kind, position = MATRIX[case]
    for statement in statements.split(";"):
        await long.database.execute(statement)

    verdict = await long.verify()

    assert not verdict.ok
    assert (verdict.faults[0].kind, verdict.faults[0].position) == (kind, position)
    assert verdict.proven_position == max(0, position - 1)


async def test_inserted_event_is_found_between_positions(sealed: Sealed) -> None:
    """A batch that was rolled back leaves a gap, in which no event may appear later."""
    await fill(sealed.database, 299)
    await sealed.database.execute("SELECT setval('events_notification_id_seq', 300)")
    await fill(sealed.database, 50, project="q")
    await sealed.seal()

    await sealed.database.execute(_INSERT.format(300))

    (fault,) = await sealed.faults()
    assert (fault.kind, fault.position) == ("inserted", 300)


async def test_cut_tail_with_its_seal_is_found_by_the_checkpoints_outside(long: Sealed) -> None:
    for statement in (
        "DELETE FROM events WHERE notification_id > 650",
        "DELETE FROM seal_checkpoints WHERE size > 400",
        "DELETE FROM seal_tiles WHERE level = 0 AND index = 2",
        "UPDATE checkpoints SET position = 512 WHERE name = 'seal'",
    ):
        await long.database.execute(statement)

    first, second, *_ = await long.faults()

    assert (first.kind, first.position) == ("seal_altered", 513)
    assert (second.kind, second.position) == ("removed", 651)


async def test_cut_and_rewritten_tail_with_its_seal_is_found(long: Sealed) -> None:
    """The attacker seals another end of the log, but lacks the signing key and access to the outside folder."""
    for statement in (
        "DELETE FROM events WHERE notification_id > 650",
        "DELETE FROM seal_checkpoints WHERE size > 400",
        "DELETE FROM seal_tiles",
        "DELETE FROM checkpoints WHERE name = 'seal'",
        "SELECT setval('events_notification_id_seq', 650)",
    ):
        await long.database.execute(statement)
    await fill(long.database, 60, project="forged")
    await long.follow()

    faults = await long.faults()

    assert ("altered", 651) in [(fault.kind, fault.position) for fault in faults]
    assert faults[0].position == 651


async def test_event_altered_with_its_seal_is_found_by_the_copies_outside(long: Sealed) -> None:
    await long.database.execute("UPDATE events SET state = '{}' WHERE notification_id = 300")
    await long.database.execute("DELETE FROM seal_tiles")
    await long.database.execute("DELETE FROM checkpoints WHERE name = 'seal'")
    await long.follow()

    first, second = await long.faults()

    assert {(first.kind, first.position), (second.kind, second.position)} == {("altered", 300), ("seal_altered", 300)}


async def test_without_copies_the_checkpoints_bound_where_it_was_altered(long: Sealed) -> None:
    async for info in long.destinations.own.list("seal/tiles"):
        await long.destinations.own.delete(info.key)
    await long.database.execute("UPDATE events SET state = '{}' WHERE notification_id = 500")
    await long.database.execute("DELETE FROM seal_tiles")
    await long.database.execute("DELETE FROM checkpoints WHERE name = 'seal'")
    await long.follow()

    (fault,) = await long.faults()

    assert (fault.kind, fault.position, fault.until) == ("seal_altered", 401, EVENTS)


async def test_altered_tiles_over_unchanged_events_are_reported(long: Sealed) -> None:
    """The log is unchanged, so the fault names the seal and not an event."""
    await long.database.execute("UPDATE seal_tiles SET hashes = hashes || '' WHERE level = 0")
    assert (await long.verify()).ok
    change = (
        "UPDATE seal_tiles SET hashes = set_byte(hashes, 32 * 9, 255 - get_byte(hashes, 32 * 9))"
        " WHERE level = 0 AND index = 0"
    )

    await long.database.execute(change)

    (fault,) = await long.faults()
    assert (fault.kind, fault.position) == ("seal_altered", 10)


async def test_checkpoint_of_another_key_is_reported_as_forged(long: Sealed) -> None:
    await long.database.execute("UPDATE seal_checkpoints SET note = replace(note, 'position', 'positron')")

    faults = await long.faults()

    assert [fault.kind for fault in faults] == ["forged", "forged"]


async def test_verification_since_the_checkpoint_checks_the_newer_events(long: Sealed) -> None:
    await fill(long.database, 200, project="r")
    await long.follow()
    await long.database.execute("UPDATE events SET state = '{}' WHERE notification_id IN (5, 800)")

    recent, whole = await long.verify(since_checkpoint=True), await long.verify()

    assert [fault.position for fault in recent.faults] == [800]
    assert [fault.position for fault in whole.faults] == [5, 800]
    assert recent.events < 500
    assert whole.events == EVENTS + 200


async def test_rebuilt_tree_over_altered_events_is_never_signed(long: Sealed) -> None:
    await long.database.execute("UPDATE events SET state = '{}' WHERE notification_id = 300")
    await long.database.execute("DELETE FROM seal_tiles")
    await long.database.execute("DELETE FROM checkpoints WHERE name = 'seal'")
    await fill(long.database, 5, project="r")

    with pytest.raises(Exception, match="not those that were signed"):
        await long.seal()
