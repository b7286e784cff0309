"""`annals import` and `annals restore`: a file that proves itself becomes the log of an empty instance."""

from pathlib import Path
from typing import Any

import click

from annals.cli.event_log import with_log
from annals.cli.options import answer, data_option, json_option, of_instance
from annals.cli.passphrases import passphrase, passphrase_option
from annals.cli.portable import KeysSource, Loaded, content_of, load
from annals.cli.prepare import drop_dead_key
from annals.cli.progress import interruptible
from annals.projections.replay.replay import AlreadyReplaying
from annals.projections.replay.staging_tables import TablesBusy
from annals.settings import Settings
from annals.store.content.blobs import BlobError
from annals.store.coordination.pauses import SCHEDULES, Pauses
from annals.store.log.log import EventLog
from annals.store.portable.keys import MOST_BYTES
from annals.store.portable.reading import ExportInvalid
from annals.store.proof.notes import NoteInvalid, Verifier
from annals.store.proof.sealing import SealDiverged

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
@data_option
@json_option
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
@data_option
@json_option
def restore(file: Path, key: str, start_schedules: bool, data: Path | None, as_json: bool) -> None:
    """Verify a backup and make it this empty instance's log; the master key must be the one it was made with."""
    _load(of_instance(data), file, key, start=start_schedules, as_json=as_json, backup=True)


@click.command()
@click.option("--start", is_flag=True, help="Start what is held back.")
@data_option
@json_option
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
