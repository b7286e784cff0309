"""What export, import, backup and restore share: a log sealed up to now, files written whole, and loading."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard

from annals.app.cli.output import output_file, require_absent
from annals.app.settings import Settings
from annals.projections import replay
from annals.projections.refill import Report
from annals.store.archives import Archives
from annals.store.follower import Follower
from annals.store.holds import SCHEDULES, Holds
from annals.store.listener import Listener
from annals.store.log import EventLog
from annals.store.portable.export import Exporter, Wanted
from annals.store.portable.loading import Loader
from annals.store.portable.reading import ExportInvalid, Summary, verify
from annals.store.proof.nodes import Nodes
from annals.store.proof.notes import Checkpoint, Signer, Verifier, existing_key
from annals.store.proof.places import Places
from annals.store.proof.sealing import FOLLOWER, Sealer, seal
from annals.store.vault import master_key
from annals.workers.leadership import Leadership

LEVEL = 9


class Exported(msgspec.Struct, kw_only=True):
    """`position` is that of the last event that the checkpoint covers."""

    file: str
    events: int
    contents: int
    blobs: int
    position: int
    bytes: int
    key: str


class Loaded(NamedTuple):
    """A load, and the root of the loaded log, which is that of the file where nothing was left out."""

    summary: Summary
    root: bytes
    held: bool


async def signed_now(log: EventLog, settings: Settings, signer: Signer) -> Checkpoint:
    """Seal and sign everything recorded so far. Raises ExportInvalid for an empty log, SealBroken, BlobError."""
    follower = Follower(FOLLOWER, seal, log.facts, Listener(log.database))
    while await follower.catch_up():
        continue
    blobs = log.contents.blobs
    nodes = Nodes(log.database, Archives(log.database, blobs).leaf_hashes)
    checkpoint = await Sealer(log.database, nodes, signer, Places(blobs, settings.checkpoint_places)).sign()
    if checkpoint is None:
        raise ExportInvalid("The log is empty: there is nothing to export.")
    return checkpoint


async def write(
    log: EventLog, settings: Settings, wanted: Wanted, path: Path | None, *, force: bool = False
) -> Exported:
    """Export to a file that is complete or absent. Raises as `signed_now` and `Exporter.lines`, OutputExists."""
    if path is not None:
        require_absent(path, force=force)
    signer = existing_key(settings.seal_key)
    checkpoint = await signed_now(log, settings, signer)
    word = "backup" if wanted.backup else "export"
    target = path or Path(f"annals-{word}-{wanted.project or 'all'}-{checkpoint.position}.ndjson.zst")
    exporter = Exporter(log.database, Archives(log.database, log.contents.blobs), log.contents, signer)
    with output_file(target, force=force) as file:
        with zstandard.ZstdCompressor(level=LEVEL).stream_writer(file, closefd=False) as packed:
            async for line in exporter.lines(wanted, checkpoint):
                packed.write(line)
                packed.write(b"\n")
        size = file.tell()
    return Exported(
        file=str(target), position=checkpoint.position, bytes=size, key=str(signer.verifier), **exporter.counts
    )


async def load(
    log: EventLog, settings: Settings, path: Path, *, verifier: Verifier | None, hold: str, backup: bool, report: Report
) -> Loaded:
    """Verify a file, load it into the empty log, rebuild every read model, and seal what was loaded.

    Raises ExportInvalid, LogNotEmpty, MasterKeyWrong, UnknownTopic, UnreadableEvent, BlobError, OSError; then nothing
    is written.
    """
    summary = await asyncio.to_thread(verify, path, verifier)
    if backup and not summary.header.backup:
        raise ExportInvalid("This is an export, without keys and perhaps without contents. `annals import` loads it.")
    loader = Loader(log.database, log.contents, master_key(settings.master_key), log.mapper)
    await loader.check(path, summary)
    signer, places = existing_key(settings.seal_key), Places(log.contents.blobs, settings.checkpoint_places)
    await loader.load(path, summary, hold=hold, forget=lambda: places.forget(signer.verifier))
    await Leadership(log.database).dismiss()  # a keeper at work remembers what it signed of the log before
    await replay.rebuild(log.database, log.facts, report=report)
    checkpoint = await signed_now(log, settings, signer)
    if summary.whole and checkpoint.size == summary.checkpoint.size and checkpoint.root != summary.checkpoint.root:
        raise ExportInvalid("What was loaded is not what the file holds. Run `annals verify`.")
    return Loaded(summary, checkpoint.root, await Holds(log.database).find(SCHEDULES) is not None)


def content_of(loaded: Loaded) -> dict[str, Any]:
    """As JSON."""
    summary = loaded.summary
    return {
        "events": summary.events,
        "contents": summary.contents,
        "blobs": summary.blobs,
        "dataKeys": len(summary.data_keys),
        "position": summary.last_position,
        "root": loaded.root.hex(),
        "origin": summary.header.origin,
        "schedulesHeld": loaded.held,
    }
