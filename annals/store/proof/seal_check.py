"""The first half of a verification: whether the stored leaves lead to the signed roots.

If they do not, the tiles were changed. If the copies outside the database do, they show which tiles.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Literal, NamedTuple

from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import Checkpoint
from annals.store.proof.sources import SourceTile
from annals.store.tree.merkle import HASH_BYTES, Frontier, LeafRange, cover, fold
from annals.store.tree.tiles import FULL, HEIGHT, WIDTH, Leaves

Kind = Literal[
    "altered", "removed", "inserted", "swapped", "seal_altered", "forged", "content_damaged", "snapshot_altered"
]


class Fault(NamedTuple):
    """A difference at a position; with `until` somewhere from there to that position."""

    kind: Kind
    position: int
    detail: str
    until: int | None = None


class SealCheckResult(NamedTuple):
    """The result of a check: `good` is the newest checkpoint that the leaves led to.

    `replaced` are the trusted leaves of changed tiles, by number, and `nodes` the roots of full tiles, by number.
    """

    faults: list[Fault]
    replaced: dict[int, Leaves]
    good: Checkpoint | None
    nodes: dict[int, bytes]


class Anchors:
    """Checks signed checkpoints against leaves, tile by tile."""

    def __init__(self, checkpoints: Sequence[Checkpoint]) -> None:
        self.left = sorted(checkpoints, key=lambda checkpoint: checkpoint.size)
        self.good: Checkpoint | None = None
        """The newest checkpoint that the leaves led to."""
        self.nodes: dict[int, bytes] = {}
        """The roots of full tiles by number, shared by copies: a repaired tile overwrites its root."""
        self._frontier = Frontier()

    def copy(self) -> "Anchors":
        made = Anchors(self.left)
        made.good, made._frontier, made.nodes = self.good, self._frontier.copy(), self.nodes
        return made

    def take(self, hashes: bytes) -> Checkpoint | None:
        """Add the next tile's leaves, and return the first checkpoint that they do not lead to.

        A gap before the tile is filled with zeros, so that the roots differ.
        """
        if gap := -self._frontier.size % WIDTH:
            _add(self._frontier, bytes(gap * HASH_BYTES))
        start = self._frontier.size
        end = start + len(hashes) // HASH_BYTES
        while self.left and self.left[0].size <= end:
            partly = self._frontier.copy()
            _add(partly, hashes[: (self.left[0].size - start) * HASH_BYTES])
            if self.left[0].size <= start or partly.root() != self.left[0].root:
                return self.left[0]
            self.good = self.left.pop(0)
        if len(hashes) == FULL:
            self.nodes[start // WIDTH] = node = fold(hashes)
            self._frontier.append(node, HEIGHT)
        else:
            _add(self._frontier, hashes)
        return None


class SealCheck:
    """One pass over all tiles."""

    def __init__(self, checkpoints: Sequence[Checkpoint], destinations: Destinations) -> None:
        self._destinations = destinations
        self._anchors = Anchors(checkpoints)
        self._since = self._anchors.copy()
        self._pending: list[Leaves] = []
        self._faults: list[Fault] = []
        self._replaced: dict[int, Leaves] = {}

    async def run(self, kept: AsyncIterator[SourceTile]) -> SealCheckResult:
        """Raises BlobError, ArchiveDamaged."""
        async for tile, _, _ in kept:
            self._pending.append(tile)
            wrong = self._anchors.take(tile.hashes)
            if wrong is not None and not await self._mend(wrong):
                return self._checked()
            if self._anchors.good is not self._since.good and len(tile.hashes) == FULL:
                self._since, self._pending = self._anchors.copy(), []
        if self._anchors.left:
            await self._mend(self._anchors.left[-1])
        return self._checked()

    async def _mend(self, wrong: Checkpoint) -> bool:
        """Use the copies outside up to a checkpoint that the tiles do not lead to; False if those do not lead there."""
        first = self._pending[0].number if self._pending else self._since_tile()
        stored = {tile.number: tile for tile in self._pending}
        anchors, mended = self._since.copy(), list[Leaves]()
        for index in range(first, max([*stored, (wrong.size - 1) // WIDTH]) + 1):
            here = stored.get(index, Leaves(index, b"", ()))
            copy = await self._destinations.leaves(index)
            tile = here if copy is None else _joined(copy, here)
            if anchors.take(tile.hashes) is not None:
                self._faults.append(self._somewhere(wrong))
                return False
            mended.append(tile)
        if anchors.left and anchors.left[0].size <= wrong.size:
            self._faults.append(self._somewhere(wrong))
            return False
        changed = [tile for tile in mended if not _same(stored.get(tile.number), tile)]
        self._faults += [_altered(stored.get(tile.number), tile) for tile in changed]
        self._replaced |= {tile.number: tile for tile in changed}
        self._anchors = anchors
        return True

    def _since_tile(self) -> int:
        return self._since._frontier.size // WIDTH

    def _somewhere(self, wrong: Checkpoint) -> Fault:
        good = self._anchors.good
        after = good.position if good is not None else 0
        detail = (
            f"the log up to position {wrong.position} is not what was signed at {wrong.signed_at:%Y-%m-%d %H:%M:%S}Z; "
            f"up to position {after} it is"
        )
        return Fault("seal_altered", after + 1, detail, wrong.position)

    def _checked(self) -> SealCheckResult:
        return SealCheckResult(self._faults, self._replaced, self._anchors.good, self._anchors.nodes)


def _add(frontier: Frontier, hashes: bytes) -> None:
    """Add neighbouring leaves that end at or before the next tile."""
    if len(hashes) == FULL:
        frontier.append(fold(hashes), HEIGHT)
        return
    start = frontier.size
    for node in cover(LeafRange(start, start + len(hashes) // HASH_BYTES)):
        at = ((node.number << node.level) - start) * HASH_BYTES
        frontier.append(fold(hashes[at : at + (HASH_BYTES << node.level)]), node.level)


def _joined(copy: Leaves, kept: Leaves) -> Leaves:
    """Return the copy, and after it the leaves that the database's tile has gained since."""
    count = len(copy.hashes) // HASH_BYTES
    hashes = copy.hashes + kept.hashes[len(copy.hashes) :]
    return Leaves(copy.number, hashes, [*copy.positions[:count], *kept.positions[count:]])


def _same(kept: Leaves | None, tile: Leaves) -> bool:
    return kept is not None and kept.hashes == tile.hashes and [*kept.positions] == [*tile.positions]


def _altered(kept: Leaves | None, tile: Leaves) -> Fault:
    """Return a fault for the first changed leaf of a tile."""
    count = len(tile.hashes) // HASH_BYTES
    for number in range(count):
        at = slice(number * HASH_BYTES, (number + 1) * HASH_BYTES)
        if kept is None or kept.hashes[at] != tile.hashes[at]:
            return Fault("seal_altered", tile.positions[number], "the tree's own leaf of this position was changed")
    return Fault("seal_altered", tile.positions[0], "the tree's own positions were changed")
