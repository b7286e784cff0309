"""Verification: is the log, event by event, the one that was sealed and signed? If not: where, first of all, not?"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import msgspec

from annals.store.log.archives import Archives
from annals.store.postgres.database import Database
from annals.store.proof.destinations import Destinations
from annals.store.proof.kept_check import archive_faults, row_faults, upper_faults
from annals.store.proof.leaf import StoredRow, as_leaf
from annals.store.proof.merkle import HASH_BYTES, leaf_hash
from annals.store.proof.nodes import Nodes, NodesMissing
from annals.store.proof.notes import Checkpoint, NoteInvalid, Verifier
from annals.store.proof.seal_check import Fault, SealCheck, SealCheckResult
from annals.store.proof.sources import LogLeaves, SourceTile, tiles
from annals.store.proof.tiles import QUERIES, WIDTH, Leaves

_BEFORE_ALL = -(2**63)
MOST_FAULTS = 100
"""After so many faults the rest is not looked at: the first ones are what counts."""

Report = Callable[[int], None]
"""Told how many events were verified so far."""


class Verdict(msgspec.Struct, kw_only=True, rename="camel"):
    """`proven_position` is how far the log is what was signed, by `checkpoints` signatures, `outside_checkpoints` of
    them from outside the database; `unsealed` events are newer than the seal; `snapshots` and `contents` were read, if
    they were to be.
    """

    ok: bool
    events: int
    proven_position: int
    checkpoints: int
    outside_checkpoints: int
    unsealed: int
    seconds: float
    faults: list[Fault]
    snapshots: int = 0
    contents: int = 0


class Mismatch(NamedTuple):
    """A row that is not what was sealed at its position."""

    row: StoredRow
    expected: bytes


class Verification:
    """One run over an instance that may go on meanwhile."""

    def __init__(self, database: Database, archives: Archives, verifier: Verifier, places: Destinations) -> None:
        self._database, self._archives, self._verifier, self._places = database, archives, verifier, places
        self._faults: list[Fault] = []
        self._mismatches: list[Mismatch] = []
        self._events = 0

    async def run(self, *, since_checkpoint: bool = False, report: Report = lambda _: None) -> Verdict:
        """Verify the whole log, or what came after the newest outside checkpoint, which the tree must lead to.

        Raises StoreUnavailable, BlobError, ArchiveDamaged, psycopg's errors.
        """
        began = time.perf_counter()
        signed, outside = await self._signed()
        start = await self._trusted(signed) if since_checkpoint else 0
        if start:
            checked = SealCheckResult([], {}, signed[-1], {})
        else:
            checked = await SealCheck(signed, self._places).run(tiles(self._database, self._archives))
            if not checked.faults:  # leaves that were changed have other nodes above them
                self._faults += await upper_faults(self._database, checked)
            self._faults += await archive_faults(self._archives)
        self._faults += checked.faults
        sealed = await self._events_against(checked, start, report)
        self._tell_swaps()
        self._faults.sort(key=lambda fault: (fault.position, fault.kind == "seal_altered"))
        return Verdict(
            ok=not self._faults,
            events=self._events,
            proven_position=self._proven(checked.good),
            checkpoints=len(signed),
            outside_checkpoints=outside,
            unsealed=int(await self._database.value(QUERIES["unsealed"], {"position": sealed})),
            seconds=round(time.perf_counter() - began, 3),
            faults=self._faults[:MOST_FAULTS],
        )

    async def _signed(self) -> tuple[list[Checkpoint], int]:
        """Every checkpoint of this log's key by size, and how many of them were found outside."""
        outside, forged = await self._places.all(self._verifier)
        self._faults += [Fault("forged", 0, f"{one.place}: {one.reason}") for one in forged]
        found = {one.checkpoint.size: one.checkpoint for one in outside}
        for row in await self._database.rows(QUERIES["checkpoints"]):
            try:
                checkpoint = self._verifier.open(row["note"])
                self._faults += row_faults(row, checkpoint)
            except NoteInvalid as error:
                if self._verifier.claims(row["note"]):
                    self._faults.append(Fault("forged", row["position"], f"the database's checkpoint: {error}"))
                continue
            known = found.setdefault(checkpoint.size, checkpoint)
            if known.root != checkpoint.root:
                self._faults.append(Fault("forged", known.position, "two different roots were signed for one size"))
        return sorted(found.values(), key=lambda checkpoint: checkpoint.size), len(outside)

    async def _trusted(self, signed: Sequence[Checkpoint]) -> int:
        """How many leaves the newest checkpoint vouches for, 0 when the tree does not lead to it."""
        if not signed:
            return 0
        try:
            root = await Nodes(self._database, self._archives.leaf_hashes).root(signed[-1].size)
        except NodesMissing:
            return 0
        return signed[-1].size if root == signed[-1].root else 0

    async def _events_against(self, checked: SealCheckResult, start: int, report: Report) -> int:
        """Hold every row from a leaf on against the leaves; returns the last sealed position."""
        last = 0
        conn = await self._database.connect("verify")
        log: LogLeaves | None = None
        try:
            async for tile, archived, rows in self._leaves(checked, start // WIDTH):
                if not tile.hashes or len(self._faults) + len(self._mismatches) > MOST_FAULTS:
                    continue
                if log is None:
                    log = LogLeaves(conn, tile.positions[0] - 1 if start else _BEFORE_ALL)
                last = tile.positions[-1]
                await self._tile(log, tile, {row.position: row for row in rows} if archived else None)
                report(self._events)
        finally:
            if log is not None:
                await log.close()
            await conn.close()
        return last

    async def _leaves(self, checked: SealCheckResult, start: int) -> AsyncIterator[SourceTile]:
        """The leaves to go by, those that the database has lost at the end included."""
        index = start - 1
        async for kept in tiles(self._database, self._archives, start):
            index = kept.leaves.number
            yield kept._replace(leaves=checked.replaced.get(index, kept.leaves))
        for number in sorted(number for number in checked.replaced if number > index):
            yield SourceTile(checked.replaced[number], archived=False)

    async def _tile(self, log: LogLeaves, tile: Leaves, archived: dict[int, StoredRow] | None) -> None:
        count = len(tile.hashes) // HASH_BYTES
        await log.need(count, tile.positions[-1])
        self._events += count
        if archived is None and b"".join(log.hashes[log.at : log.at + count]) == tile.hashes:
            if log.positions[log.at : log.at + count] != list(tile.positions):
                detail = "the tree's own positions are not those of the events that it seals"
                self._faults.append(Fault("seal_altered", log.positions[log.at], detail))
            log.at += count
            return
        expected = {
            position: tile.hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES]
            for number, position in enumerate(tile.positions)
        }
        while log.at < len(log.positions) and log.positions[log.at] <= tile.positions[-1]:
            position, row = log.positions[log.at], log.row(log.at)
            sealed = expected.pop(position, None)
            if sealed is None:
                self._faults.append(Fault("inserted", position, f"{row.topic} of {row.stream} was never sealed"))
            elif sealed != log.hashes[log.at]:
                self._mismatches.append(Mismatch(row, sealed))
            log.at += 1
        for position in expected:
            if archived is None or not archived[position].topic.startswith("execution."):
                self._faults.append(Fault("removed", position, "a sealed event is gone"))

    def _tell_swaps(self) -> None:
        """Of rows that are not what was sealed, those that stand in each other's place."""
        told: set[int] = set()
        for one in self._mismatches:
            other = next((o for o in self._mismatches if o is not one and _swapped(one, o)), None)
            if other is None:
                detail = f"{one.row.topic} of {one.row.stream} is not what was sealed"
                self._faults.append(Fault("altered", one.row.position, detail))
            elif one.row.position not in told:
                first, second = sorted((one.row.position, other.row.position))
                told |= {first, second}
                self._faults.append(Fault("swapped", first, f"it stands in the place of position {second}, and back"))

    def _proven(self, good: Checkpoint | None) -> int:
        """The position up to which nothing was found."""
        proven = good.position if good is not None else 0
        first = min((fault.position for fault in self._faults), default=proven + 1)
        return min(proven, max(0, first - 1))


def _swapped(one: Mismatch, other: Mismatch) -> bool:
    """Whether each row, or what it says, was sealed at the other's position."""
    return _was(other.row, one) and _was(one.row, other)


def _was(row: StoredRow, at: Mismatch) -> bool:
    """Whether a row was sealed at a place: with its time or without, or its content alone."""
    there = at.row
    forms = (
        row._replace(position=there.position),
        row._replace(position=there.position, recorded_ms=there.recorded_ms),
        there._replace(topic=row.topic, state=row.state),
        there._replace(state=row.state),
    )
    return any(leaf_hash(as_leaf(form)) == at.expected for form in forms)
