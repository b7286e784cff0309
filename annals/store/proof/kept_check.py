"""What Postgres keeps of the seal beside the leaves: nodes above them, and what rows say of signed notes.

Neither is what the log is proven by, but proofs for others are made of the one, and people read the other.
"""

from collections.abc import Mapping
from typing import Any

from annals.store.log.archives import Archives, streams_of
from annals.store.postgres.database import Database
from annals.store.proof.leaf import moment
from annals.store.proof.merkle import HASH_BYTES, fold
from annals.store.proof.notes import Checkpoint
from annals.store.proof.seal_check import Fault, SealCheckResult
from annals.store.proof.tiles import FULL, QUERIES, WIDTH


def row_faults(row: Mapping[str, Any], checkpoint: Checkpoint) -> list[Fault]:
    """Where a checkpoint's row says something else than the note in it, which is what was signed."""
    says = (row["size"], row["position"], bytes(row["root"]), row["signed_at"].replace(microsecond=0))
    if says == (checkpoint.size, checkpoint.position, checkpoint.root, checkpoint.signed_at.replace(microsecond=0)):
        return []
    return [
        Fault("forged", row["position"], f"the database's checkpoint of size {row['size']} is not what its note says")
    ]


async def archive_faults(archives: Archives) -> list[Fault]:
    """Where the index of archives says something else than they hold: by it they are found, or passed over.

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
    """Nodes that do not follow from the leaves below them. Tiles that grew meanwhile are held to what is known."""
    faults: list[Fault] = []
    nodes, level = checked.nodes, 1
    while nodes:
        kept = {
            row["index"]: bytes(row["hashes"]) for row in await database.rows(QUERIES["upper_tiles"], {"level": level})
        }
        above: dict[int, bytes] = {}
        for number in range(max(nodes) // WIDTH + 1):
            tile = kept.get(number, b"")
            for place in range(number * WIDTH, (number + 1) * WIDTH):
                at = (place - number * WIDTH) * HASH_BYTES
                if place in nodes and tile[at : at + HASH_BYTES] != nodes[place]:
                    leaf = (place << 8 * (level - 1)) * WIDTH
                    detail = f"the tree's own node over the leaves from {leaf} on was changed"
                    faults.append(Fault("seal_altered", checked.good.position + 1 if checked.good else 1, detail))
                    break
            if len(tile) == FULL:
                above[number] = fold(tile)
        nodes, level = above, level + 1
    return faults
