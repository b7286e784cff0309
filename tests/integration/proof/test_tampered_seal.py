"""Verification finds every change of the seal by SQL: of leaves, of nodes above them, of checkpoints."""

import pytest

from tests.integration.proof.sealed import Sealed
from tests.integration.proof.test_tampering import EVENTS, long

__all__ = ["long"]

_LEAF = "UPDATE seal_tiles SET hashes = {} WHERE level = 0 AND index = 0"
_PLACED = "overlay({} placing substr(hashes, {}, 32) from {} for 32)"
_SWAPPED = "UPDATE seal_{0} a SET {1} FROM seal_{0} b WHERE {2}"

TREE = {
    "an altered leaf": (_LEAF.format("set_byte(hashes, 288, 255 - get_byte(hashes, 288))"), 10),
    "a deleted leaf": (_LEAF.format("substr(hashes, 1, 288) || substr(hashes, 321)"), 10),
    "an inserted leaf": (_LEAF.format("substr(hashes, 1, 288) || substr(hashes, 1, 32) || substr(hashes, 289)"), 1),
    "two swapped leaves": (_LEAF.format(_PLACED.format(_PLACED.format("hashes", 641, 289), 289, 641)), 10),
    "a cut tail of leaves": (
        "UPDATE seal_tiles SET hashes = substr(hashes, 1, 3200), offsets = substr(offsets, 1, 396)"
        " WHERE level = 0 AND index = 2",
        613,
    ),
    "a deleted tile": ("DELETE FROM seal_tiles WHERE level = 0 AND index = 1", 257),
    "a deleted last tile": ("DELETE FROM seal_tiles WHERE level = 0 AND index = 2", 513),
    "two swapped tiles": (
        _SWAPPED.format(
            "tiles",
            "hashes = b.hashes, first_position = b.first_position, offsets = b.offsets",
            "a.level = 0 AND b.level = 0 AND (a.index, b.index) IN ((0, 1), (1, 0))",
        ),
        1,
    ),
    "an inserted tile": (
        "INSERT INTO seal_tiles SELECT 0, 3, hashes, 10001, offsets FROM seal_tiles WHERE level = 0 AND index = 0",
        EVENTS + 1,
    ),
    "moved positions": (
        "UPDATE seal_tiles SET first_position = first_position + 1 WHERE level = 0 AND index = 1", 257,
    ),
    "an altered node": (
        "UPDATE seal_tiles SET hashes = set_byte(hashes, 40, 255 - get_byte(hashes, 40)) WHERE level = 1", EVENTS + 1,
    ),
    "deleted nodes": ("DELETE FROM seal_tiles WHERE level = 1", EVENTS + 1),
}  # fmt: skip

CHECKPOINTS = {
    "an altered root": ("UPDATE seal_checkpoints SET root = sha256(root) WHERE size = 400", 400),
    "an altered time": ("UPDATE seal_checkpoints SET signed_at = signed_at - interval '1 day' WHERE size = 400", 400),
    "an altered note": ("UPDATE seal_checkpoints SET note = replace(note, 'time', 'tide') WHERE size = 400", 400),
    "an inserted one": (
        "INSERT INTO seal_checkpoints SELECT 500, 500, root, note, signed_at, outside_at FROM seal_checkpoints"
        " WHERE size = 400",
        500,
    ),
    "two swapped ones": (
        _SWAPPED.format(
            "checkpoints",
            "note = b.note, root = b.root, position = b.position",
            "(a.size, b.size) IN ((400, 700), (700, 400))",
        ),
        400,
    ),
}


@pytest.mark.parametrize("case", TREE)
async def test_tampering_with_the_tree_is_found_and_located(long: Sealed, case: str) -> None:
    statement, position = TREE[case]
    await long.database.execute(statement)

    faults = await long.faults()

    assert (faults[0].kind, faults[0].position) == ("seal_altered", position)


@pytest.mark.parametrize("case", CHECKPOINTS)
async def test_tampering_with_checkpoints_is_found(long: Sealed, case: str) -> None:
    statement, position = CHECKPOINTS[case]
    await long.database.execute(statement)

    faults = await long.faults()

    assert (faults[0].kind, faults[0].position) == ("forged", position)


@pytest.mark.parametrize("which", ["size = 400", "size = 700", "true"])
async def test_checkpoints_deleted_from_the_database_still_prove_events(long: Sealed, which: str) -> None:
    """Copies outside the database are enough: with them verification still finds altered events."""
    await long.database.execute(f"DELETE FROM seal_checkpoints WHERE {which}")  # noqa: S608 - words of ours
    untouched = await long.verify()
    await long.database.execute("UPDATE events SET state = '{}' WHERE notification_id = 650")

    (fault,) = await long.faults()

    assert (untouched.ok, untouched.proven_position) == (True, EVENTS)
    assert (fault.kind, fault.position) == ("altered", 650)
