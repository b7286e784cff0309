"""The keeper's part in the proof: what seals the log as it grows, signs it, and archives what is old."""

from datetime import UTC, datetime, timedelta

import structlog

from annals.settings import Settings
from annals.store.log.archives import Archiver, Archives
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.listener import Listener
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import Checkpoint, NoteInvalid, signing_key
from annals.store.proof.proofs import Nodes
from annals.store.proof.sealing import FOLLOWER, SealDiverged, Sealer, note_signing, seal
from annals.workers.clock import Duty

_GATHER_SECONDS = 0.5
"""Tiles that grow are written again each time: a batch is cheaper than as many single events."""

_ARCHIVE_SECONDS = 3600.0

log = structlog.get_logger(__name__)


class Sealing:
    """One per term of a keeper, which goes on whatever is wrong with key and places."""

    def __init__(self, event_log: EventLog, settings: Settings) -> None:
        self._log, self._settings, self._database = event_log, settings, event_log.database
        self._blobs = event_log.contents.blobs
        self._sealer: Sealer | None = None
        self._archiver = Archiver(self._database, self._blobs)

    def follower(self, listener: Listener, tail_cache: TailCache) -> Follower:
        reader = self._log.reader
        return Follower(FOLLOWER, seal, reader, listener, tail_cache=tail_cache, gather_seconds=_GATHER_SECONDS)

    def duties(self) -> list[Duty]:
        duties = [Duty("checkpoint", float(self._settings.checkpoint_s), self.sign)]
        if self._settings.log_archive_days:
            duties.append(Duty("archive", _ARCHIVE_SECONDS, self.archive))
        return duties

    async def sign(self) -> Checkpoint | None:
        """Sign the newest tree; what may not or cannot be signed is shown where readiness is asked for.

        Raises BlobError when a place is away: what could not be written there is written the next time.
        """
        try:
            if self._sealer is None:
                self._sealer = self._opened()
            signed = await self._sealer.sign()
        except (SealDiverged, NoteInvalid) as error:
            log.error("seal_broken", error=str(error))
            await note_signing(self._database, None, str(error))
            return None
        if signed is not None:
            await note_signing(self._database, signed.position, "")
        return signed

    def _opened(self) -> Sealer:
        nodes = Nodes(self._database, Archives(self._database, self._blobs).leaf_hashes)
        places = Destinations(self._blobs, self._settings.checkpoint_places)
        return Sealer(self._database, nodes, signing_key(self._settings.seal_key), places)

    async def archive(self) -> None:
        """Move what is older than the setting's days."""
        await self._archiver.run(datetime.now(UTC) - timedelta(days=self._settings.log_archive_days))
