"""Verification: whether the log, event by event, is the one that was sealed and signed, and where it first differs.

One file because the verdict needs all checks: of leaves, rows, checkpoints, archives and the nodes above the leaves.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from annals.store.log.archives import Archives, streams_of
from annals.store.log.stored_row import StoredRow, as_leaf, moment
from annals.store.postgres.database import Database
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import Checkpoint, NoteInvalid, Verifier
from annals.store.proof.proofs import Nodes
from annals.store.proof.seal_check import Fault, SealCheck, SealCheckResult
from annals.store.proof.sources import LogLeaves, SourceTile, tiles
from annals.store.tree.merkle import HASH_BYTES, fold, leaf_hash
from annals.store.tree.tiles import FULL, QUERIES, WIDTH, Leaves, NodesMissing

_BEFORE_ALL = -(2**63)
MOST_FAULTS = 100
"""The number of faults after which the check stops: the first ones count."""

Report = Callable[[int], None]
"""Called with the number of events that were verified so far."""


class Verdict(msgspec.Struct, kw_only=True, rename="camel"):
    """The result of a verification.

    Up to `proven_position` the log is what was signed, by `checkpoints` signatures, of which `outside_checkpoints` are
    from outside the database. `unsealed` events are newer than the seal. `snapshots` and `contents` are the numbers of
    those that were checked too.
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
    """A row that differs from the sealed event at its position."""

    row: StoredRow
    expected: bytes


class Verification:
    """One verification of an instance that may run meanwhile."""

    def __init__(self, database: Database, archives: Archives, verifier: Verifier, destinations: Destinations) -> None:
        self._database, self._archives, self._verifier, self._destinations = database, archives, verifier, destinations
        self._faults: list[Fault] = []
        self._mismatches: list[Mismatch] = []
        self._events = 0

    async def run(self, *, since_checkpoint: bool = False, report: Report = lambda _: None) -> Verdict:
        """Verify the whole log, or the events after the newest outside checkpoint, to which the tree must lead.

        Raises StoreUnavailable, BlobError, ArchiveDamaged, psycopg's errors.
        """
        began = time.perf_counter()
        signed, outside = await self._signed()
        start = await self._trusted(signed) if since_checkpoint else 0
        if start:
            checked = SealCheckResult([], {}, signed[-1], {})
        else:
            checked = await SealCheck(signed, self._destinations).run(tiles(self._database, self._archives))
            if not checked.faults:  # changed leaves have other nodes above them
                self._faults += await upper_faults(self._database, checked)
            self._faults += await archive_faults(self._archives)
        self._faults += checked.faults
        sealed = await self._events_against(checked, start, report)
        self._report_mismatches()
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
        """Return every checkpoint of this log's key by size, and how many are outside."""
        outside, forged = await self._destinations.all(self._verifier)
        self._faults += [Fault("forged", 0, f"{one.found_at}: {one.reason}") for one in forged]
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
        """Return the number of leaves of the newest checkpoint, 0 if the tree does not lead to it."""
        if not signed:
            return 0
        try:
            root = await Nodes(self._database, self._archives.leaf_hashes).root(signed[-1].size)
        except NodesMissing:
            return 0
        return signed[-1].size if root == signed[-1].root else 0

    async def _events_against(self, checked: SealCheckResult, start: int, report: Report) -> int:
        """Compare every row from a leaf on with the leaves, and return the last sealed position."""
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
        """Yield the trusted leaves, with those that the database has lost at the end."""
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

    def _report_mismatches(self) -> None:
        """Add a fault for each pair of swapped rows and for each other mismatch."""
        reported: set[int] = set()
        for one in self._mismatches:
            other = next((o for o in self._mismatches if o is not one and _swapped(one, o)), None)
            if other is None:
                detail = f"{one.row.topic} of {one.row.stream} is not what was sealed"
                self._faults.append(Fault("altered", one.row.position, detail))
            elif one.row.position not in reported:
                first, second = sorted((one.row.position, other.row.position))
                reported |= {first, second}
                self._faults.append(Fault("swapped", first, f"it stands in the place of position {second}, and back"))

    def _proven(self, good: Checkpoint | None) -> int:
        """Return the position up to which no fault was found."""
        proven = good.position if good is not None else 0
        first = min((fault.position for fault in self._faults), default=proven + 1)
        return min(proven, max(0, first - 1))


def _swapped(one: Mismatch, other: Mismatch) -> bool:
    """Return whether each row, or its content, was sealed at the other's position."""
    return _was(other.row, one) and _was(one.row, other)


def _was(row: StoredRow, at: Mismatch) -> bool:
    """Return whether a row was sealed at the position of another: with its time, without it, or its content alone."""
    there = at.row
    forms = (
        row._replace(position=there.position),
        row._replace(position=there.position, recorded_ms=there.recorded_ms),
        there._replace(topic=row.topic, state=row.state),
        there._replace(state=row.state),
    )
    return any(leaf_hash(as_leaf(form)) == at.expected for form in forms)


def row_faults(row: Mapping[str, Any], checkpoint: Checkpoint) -> list[Fault]:
    """Return a fault if a checkpoint's row differs from the signed note in it."""
    says = (row["size"], row["position"], bytes(row["root"]), row["signed_at"].replace(microsecond=0))
    if says == (checkpoint.size, checkpoint.position, checkpoint.root, checkpoint.signed_at.replace(microsecond=0)):
        return []
    return [
        Fault("forged", row["position"], f"the database's checkpoint of size {row['size']} is not what its note says")
    ]


async def archive_faults(archives: Archives) -> list[Fault]:
    """Return faults where the index of archives differs from their events: readers find or skip archives by it.

    Raises ArchiveDamaged, BlobError.
    """
    faults: list[Fault] = []
    for segment in await archives.segments():
        rows = await archives.rows(segment)
        says = (segment.first_position, segment.last_position, segment.last_recorded_at)
        if says != (rows[0].position, rows[-1].position, moment(rows[-1].recorded_ms)):
            detail = f"the index of the archive {segment.blob} does not say what it holds"
            faults.append(Fault("seal_altered", rows[0].position, detail))
        if await archives.stored_names(segment) not in {None, streams_of(rows).tobytes()}:
            detail = f"the index of streams beside the archive {segment.blob} does not name those that it holds"
            faults.append(Fault("seal_altered", rows[0].position, detail))
    return faults


async def upper_faults(database: Database, checked: SealCheckResult) -> list[Fault]:
    """Return faults for nodes that do not follow from the leaves below; only known nodes are checked."""
    faults: list[Fault] = []
    nodes, level = checked.nodes, 1
    while nodes:
        stored = {
            row["index"]: bytes(row["hashes"]) for row in await database.rows(QUERIES["upper_tiles"], {"level": level})
        }
        above: dict[int, bytes] = {}
        for number in range(max(nodes) // WIDTH + 1):
            tile = stored.get(number, b"")
            for index in range(number * WIDTH, (number + 1) * WIDTH):
                at = (index - number * WIDTH) * HASH_BYTES
                if index in nodes and tile[at : at + HASH_BYTES] != nodes[index]:
                    leaf = (index << 8 * (level - 1)) * WIDTH
                    detail = f"the tree's own node over the leaves from {leaf} on was changed"
                    faults.append(Fault("seal_altered", checked.good.position + 1 if checked.good else 1, detail))
                    break
            if len(tile) == FULL:
                above[number] = fold(tile)
        nodes, level = above, level + 1
    return faults
