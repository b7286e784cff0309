"""`annals import`, `annals restore` and `annals schedules`: a verified file becomes the log of an empty instance."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import click

from annals.cli.event_log import with_log
from annals.cli.export import passphrase, passphrase_option, signed_now
from annals.cli.options import answer, instance_options, of_instance
from annals.cli.prepare import drop_dead_key
from annals.cli.progress import interruptible
from annals.projections.replay import replay
from annals.projections.replay.refill import Report
from annals.projections.replay.replay import AlreadyReplaying
from annals.projections.replay.staging_tables import TablesBusy
from annals.settings import Settings
from annals.store.content.blobs import BlobError
from annals.store.coordination.pauses import SCHEDULES, Pauses
from annals.store.log.log import EventLog
from annals.store.portable.export import QUERIES
from annals.store.portable.keys import MOST_BYTES, PlainKey, decrypt_keys
from annals.store.portable.loading import Loader
from annals.store.portable.reading import ExportInvalid, Summary, verify
from annals.store.portable.records import DataKey
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import NoteInvalid, Verifier, existing_key
from annals.store.proof.sealing import SealDiverged
from annals.store.secrets.master_keys import MasterKeys
from annals.store.secrets.vault import master_key
from annals.workers.keeper import Leadership

LEFT = "the log is empty still, or holds all of the file: then `annals replay` makes its read models."
HELD = "This log was loaded from a file: `annals schedules --start` starts its schedules and what was waiting."

UNREADABLE = (
    "sealed    values that cannot be read, for their data keys did not come: {variables:,} of variables,"
    " {passwords:,} passwords, {installations:,} git credentials. Set them again, or import into another empty instance"
    " with the file of `annals export --with-keys`."
)

file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
key_option = click.option("--key", default="", help="Verifier key that must have signed it; left out: the file's own.")
start_option = click.option("--start-schedules", is_flag=True, help="Start schedules and what was waiting at once.")


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


@click.command(name="import")
@file_argument
@key_option
@click.option(
    "--with-keys",
    "keys_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The data keys that `annals export --with-keys` wrote with it.",
)
@passphrase_option
@start_option
@instance_options
def import_(
    file: Path, data: Path | None, keys_file: Path | None, passphrase_file: Path | None, **given: Any
) -> None:  # fmt: skip
    """Verify an export and make it the log of this empty instance."""
    settings = of_instance(data)
    keys = None if keys_file is None else _keys(keys_file, passphrase_file)
    _load(settings, file, given["key"], start=given["start_schedules"], as_json=given["as_json"], keys=keys)


@click.command()
@file_argument
@key_option
@start_option
@instance_options
def restore(file: Path, key: str, start_schedules: bool, data: Path | None, as_json: bool) -> None:
    """Verify a backup and make it this empty instance's log; the master key must be the one it was made with."""
    _load(of_instance(data), file, key, start=start_schedules, as_json=as_json, backup=True)


@click.command()
@click.option("--start", is_flag=True, help="Start what is held back.")
@instance_options
def schedules(start: bool, data: Path | None, as_json: bool) -> None:
    """Say whether schedules are held back, or start them."""

    async def work(log: EventLog) -> str:
        holds = Pauses(log.database)
        if start:
            await holds.release(SCHEDULES)
        return await holds.find(SCHEDULES) or ""

    reason = with_log(of_instance(data), work)
    answer({"held": bool(reason), "reason": reason}, as_json, lambda: reason or "Schedules run.")


def _keys(file: Path, passphrase_file: Path | None) -> KeysSource:
    """Raises click.ClickException."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise click.ClickException(f"{file} is too large for a keys file.")
        return KeysSource(file.read_bytes(), passphrase(passphrase_file, new=False))
    except OSError as error:
        raise click.ClickException(str(error)) from None


def _load(
    settings: Settings,
    file: Path,
    key: str,
    *,
    start: bool,
    as_json: bool,
    backup: bool = False,
    keys: KeysSource | None = None,
) -> None:
    async def work(log: EventLog) -> Loaded:
        verifier = Verifier.parse(key) if key else None
        hold = "" if start else HELD
        loaded = await load(log, settings, file, verifier=verifier, hold=hold, backup=backup, report=bar, keys=keys)
        await drop_dead_key(settings, log)
        return loaded

    try:
        with interruptible(LEFT) as bar:
            loaded = with_log(settings, work)
    except (ExportInvalid, NoteInvalid, SealDiverged, BlobError, AlreadyReplaying, TablesBusy, OSError) as error:
        raise click.ClickException(str(error)) from None
    answer(content_of(loaded), as_json, lambda: _text(loaded))


def _text(loaded: Loaded) -> str:
    summary = loaded.summary
    lines = [
        f"events    {summary.events:,} up to position {summary.last_position}, signed by {summary.header.origin}",
        f"contents  {summary.contents:,}, and {summary.blobs:,} archives",
        f"root      {loaded.root.hex()}",
        "keys      those of the file; `annals keys create` makes another",
    ]
    if any(loaded.unreadable):
        lines.append(UNREADABLE.format(**loaded.unreadable._asdict()))
    return "\n".join([*lines, HELD] if loaded.held else lines)
