"""The sealing of a log as the keeper does it, step by step, and tampering by SQL."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from annals.store.log.archives import Archiver, Archives, Segment, pack
from annals.store.log.compact_states import PREFIX, compact
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog
from annals.store.log.stored_row import StoredRow, as_leaf
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import Checkpoint, signing_key
from annals.store.proof.proofs import Nodes
from annals.store.proof.seal_check import Fault
from annals.store.proof.sealing import FOLLOWER, Sealer, seal
from annals.store.proof.verification import Verdict, Verification
from annals.store.tree.merkle import Frontier, fold, leaf_hash
from annals.store.tree.tiles import FULL, HEIGHT


class Sealed:
    """One instance's seal."""

    def __init__(self, log: EventLog, archives: Archives, folder: Path) -> None:
        self.log, self.database, self.folder = log, log.database, folder
        self.signer = signing_key(folder / "seal.key")
        self.outside = folder / "outside"
        self.destinations = Destinations(log.contents.blobs, [str(self.outside)])
        self.archives = archives
        self.nodes = Nodes(self.database, archives.leaf_hashes)
        self.sealer = Sealer(self.database, self.nodes, self.signer, self.destinations)

    async def seal(self) -> Checkpoint:
        """Seal all events, and sign a checkpoint."""
        await self.follow()
        checkpoint = await self.sealer.sign()
        assert checkpoint is not None
        return checkpoint

    async def follow(self) -> None:
        follower = Follower(FOLLOWER, seal, self.log.reader, Listener(self.database))
        while await follower.catch_up():
            pass

    async def verify(self, *, since_checkpoint: bool = False) -> Verdict:
        """Verify the log without any cache."""
        archives = Archives(self.database, self.log.contents.blobs)
        verification = Verification(self.database, archives, self.signer.verifier, self.destinations)
        return await verification.run(since_checkpoint=since_checkpoint)

    async def faults(self) -> list[Fault]:
        return (await self.verify()).faults

    async def archive(self, *, least_tiles: int = 1) -> list[Segment]:
        archiver = Archiver(self.database, self.log.contents.blobs, least_tiles=least_tiles)
        return await archiver.run(datetime.now(UTC) + timedelta(days=1))


async def fill(database: Database, count: int, *, project: str = "p", topic: str = "execution.requested") -> None:
    """Insert many events of separate streams as raw rows, every second one compressed."""
    before = int(await database.value("SELECT coalesce(max(notification_id), 0) FROM events"))
    await database.execute(
        "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
        " SELECT 'execution:' || %s || ':x' || n, 1, %s,"
        " convert_to('{\"timestamp\":\"2026-01-01T00:00:00Z\",\"n\":' || n || '}', 'UTF8'),"
        " date_trunc('milliseconds', clock_timestamp()) FROM generate_series(1, %s) AS n",
        (project, topic, count),
    )
    if topic.startswith(PREFIX):
        rows = await database.rows("SELECT notification_id, state FROM events WHERE notification_id > %s", (before,))
        packed = {row["notification_id"]: compact(row["state"]) for row in rows if row["notification_id"] % 2}
        assert not any(state.startswith(b"{") for state in packed.values())
        await database.execute(
            "UPDATE events SET state = i.state FROM unnest(%s::bigint[], %s::bytea[]) AS i (position, state)"
            " WHERE notification_id = position",
            (list(packed), list(packed.values())),
        )


async def forge(sealed: Sealed, blob: str, rows: Sequence[StoredRow]) -> None:
    """Replace an archive and its row."""
    packed = pack(rows)
    hashes = b"".join(leaf_hash(as_leaf(row)) for row in rows)
    frontier = Frontier()
    for at in range(0, len(hashes), FULL):
        frontier.append(fold(hashes[at : at + FULL]), HEIGHT)
    await sealed.destinations.own.put(blob, packed)
    await sealed.database.execute(
        "UPDATE archive_segments SET digest = %s, size = %s, root = %s WHERE blob = %s",
        (hashlib.sha256(packed).hexdigest(), len(packed), frontier.root(), blob),
    )
