"""What export, import, backup and restore share: a log sealed up to now, files written whole, and loading."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard

from annals.cli.output import output_file, require_absent
from annals.projections.replay import replay
from annals.projections.replay.refill import Report
from annals.settings import Settings
from annals.store.coordination.pauses import SCHEDULES, Pauses
from annals.store.log.archives import Archives
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog
from annals.store.portable.export import QUERIES, Exporter, ExportSelection
from annals.store.portable.keys import PlainKey, decrypt_keys, encrypt_keys
from annals.store.portable.loading import Loader
from annals.store.portable.reading import ExportInvalid, Summary, verify
from annals.store.portable.records import DataKey
from annals.store.postgres.listener import Listener
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import Checkpoint, Signer, Verifier, existing_key
from annals.store.proof.proofs import Nodes
from annals.store.proof.sealing import FOLLOWER, Sealer, seal
from annals.store.secrets.master_keys import MasterKeys
from annals.store.secrets.vault import master_key
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
    keys_file: str = ""


class KeysTarget(NamedTuple):
    """Where the data keys of an export go, and the passphrase that encrypts them."""

    path: Path
    passphrase: str


class KeysSource(NamedTuple):
    """A keys file's content and its passphrase."""

    content: bytes
    passphrase: str


class Unreadable(NamedTuple):
    """How many values are sealed by data keys that are not here: of variables, passwords and git credentials."""

    variables: int = 0
    passwords: int = 0
    installations: int = 0


class Loaded(NamedTuple):
    """A load, and the root of the loaded log, which is that of the file where nothing was left out."""

    summary: Summary
    root: bytes
    held: bool
    unreadable: Unreadable


async def signed_now(log: EventLog, settings: Settings, signer: Signer) -> Checkpoint:
    """Seal and sign everything recorded so far. Raises ExportInvalid for an empty log, SealDiverged, BlobError."""
    follower = Follower(FOLLOWER, seal, log.reader, Listener(log.database))
    while await follower.catch_up():
        continue
    blobs = log.contents.blobs
    nodes = Nodes(log.database, Archives(log.database, blobs).leaf_hashes)
    checkpoint = await Sealer(log.database, nodes, signer, Destinations(blobs, settings.checkpoint_places)).sign()
    if checkpoint is None:
        raise ExportInvalid("The log is empty: there is nothing to export.")
    return checkpoint


async def write(
    log: EventLog,
    settings: Settings,
    wanted: ExportSelection,
    path: Path | None,
    *,
    force: bool = False,
    keys: KeysTarget | None = None,
) -> Exported:
    """Export to a file that is complete or absent. Raises as `signed_now` and `Exporter.lines`, OutputExists."""
    for given in (path, None if keys is None else keys.path):
        if given is not None:
            require_absent(given, force=force)
    signer = existing_key(settings.seal_key)
    checkpoint = await signed_now(log, settings, signer)
    word = "backup" if wanted.backup else "export"
    target = path or Path(f"annals-{word}-{wanted.project or 'all'}-{checkpoint.position}.ndjson.zst")
    exporter = Exporter(log.database, Archives(log.database, log.contents.blobs), log.contents, signer)
    with contextlib.ExitStack() as stack:
        if keys is not None:
            beside = stack.enter_context(output_file(keys.path, force=force))
            plain = await plain_keys(log, settings, wanted.project)
            beside.write(encrypt_keys(plain, keys.passphrase, checkpoint, wanted.project))
        file = stack.enter_context(output_file(target, force=force))
        with zstandard.ZstdCompressor(level=LEVEL).stream_writer(file, closefd=False) as packed:
            async for line in exporter.lines(wanted, checkpoint):
                packed.write(line)
                packed.write(b"\n")
        size = file.tell()
    return Exported(
        file=str(target),
        position=checkpoint.position,
        bytes=size,
        key=str(signer.verifier),
        keys_file="" if keys is None else str(keys.path),
        **exporter.counts,
    )


async def plain_keys(log: EventLog, settings: Settings, project: str) -> list[PlainKey]:
    """The data keys of a project, or of all and the instance, in clear. Raises MasterKeyWrong."""
    rows = await log.database.rows(QUERIES["data_keys"])
    wanted = [row for row in rows if not project or row["project"] == project]
    if not wanted:
        return []
    masters = master_key(settings.master_key, used=True)
    return [
        PlainKey(
            project=row["project"],
            key_id=row["key_id"],
            key=masters.unwrap(row["project"], row["key_id"], bytes(row["wrapped"])),
            created_at=row["created_at"],
        )
        for row in wanted
    ]


async def load(
    log: EventLog,
    settings: Settings,
    path: Path,
    *,
    verifier: Verifier | None,
    hold: str,
    backup: bool,
    report: Report,
    keys: KeysSource | None = None,
) -> Loaded:
    """Verify a file, load it into the empty log, rebuild every read model, and seal what was loaded.

    Raises ExportInvalid, KeysFileInvalid,
    LogNotEmpty, MasterKeyWrong, UnknownTopic, UnreadableEvent, BlobError, OSError; then nothing
    is written.
    """
    summary = await asyncio.to_thread(verify, path, verifier)
    if backup and not summary.header.backup:
        raise ExportInvalid("This is an export, without keys and perhaps without contents. `annals import` loads it.")
    masters = master_key(settings.master_key)
    if keys is not None:
        plain = decrypt_keys(keys.content, keys.passphrase, summary.checkpoint, summary.header.project)
        summary = summary._replace(data_keys=[_wrapped(masters, key) for key in plain])
    loader = Loader(log.database, log.contents, masters, log.mapper)
    await loader.check(path, summary)
    signer = existing_key(settings.seal_key)
    destinations = Destinations(log.contents.blobs, settings.checkpoint_places)
    await loader.load(path, summary, hold=hold, forget=lambda: destinations.forget(signer.verifier))
    await Leadership(log.database).dismiss()  # a keeper at work remembers what it signed of the log before
    await replay.rebuild(log.database, log.reader, report=report)
    checkpoint = await signed_now(log, settings, signer)
    if summary.whole and checkpoint.size == summary.checkpoint.size and checkpoint.root != summary.checkpoint.root:
        raise ExportInvalid("What was loaded is not what the file holds. Run `annals verify`.")
    held = await Pauses(log.database).find(SCHEDULES) is not None
    return Loaded(summary, checkpoint.root, held, await unreadable_values(log))


def _wrapped(masters: MasterKeys, key: PlainKey) -> DataKey:
    """The key under this instance's master key."""
    wrapped = masters.wrap(key.project, key.key_id, key.key)
    return DataKey(project=key.project, key_id=key.key_id, wrapped=wrapped, created_at=key.created_at)


async def unreadable_values(log: EventLog) -> Unreadable:
    """Count the sealed values of live resources whose data keys are not here."""
    return Unreadable(**(await log.database.row(QUERIES["unreadable"]) or {}))


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
        "unreadable": loaded.unreadable._asdict(),
    }
