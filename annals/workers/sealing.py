"""The keeper's part in the proof: seal the log as it grows, sign it, and archive its old events."""

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
"""Growing tiles are written again each time, so a batch is cheaper than as many single events."""

_ARCHIVE_SECONDS = 3600.0

log = structlog.get_logger(__name__)


class Sealing:
    """Seals during one term of a keeper, which goes on without a valid key or destination."""

    def __init__(self, event_log: EventLog, settings: Settings) -> None:
        self._log = event_log
        self._settings = settings
        self._database = event_log.database
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
        """Sign the newest tree; the readiness check shows why a tree was not signed.

        Raises BlobError while a destination is away: the next signature is written there too.
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
        destinations = Destinations(self._blobs, self._settings.checkpoint_places)
        return Sealer(self._database, nodes, signing_key(self._settings.seal_key), destinations)

    async def archive(self) -> None:
        """Move events that are older than the setting's days."""
        await self._archiver.run(datetime.now(UTC) - timedelta(days=self._settings.log_archive_days))
