"""`annals export` and `annals backup`: the log as a file that can be verified offline.

An output file is complete or absent; an existing file is replaced only with --force. The passphrase of a keys file
comes from a file, the environment or the terminal, never from the command line: every user of the machine can read
command lines, and the shell's history stores them.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import click
import msgspec
import zstandard

from annals.cli.event_log import with_log
from annals.cli.options import answer, instance_options, of_instance
from annals.settings import Settings
from annals.store.content.blobs import BlobError
from annals.store.log.archives import Archives
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog
from annals.store.portable.export import QUERIES, Exporter, ExportSelection
from annals.store.portable.keys import LEAST_PASSPHRASE, PlainKey, encrypt_keys
from annals.store.portable.reading import ExportInvalid
from annals.store.postgres.listener import Listener
from annals.store.proof.destinations import Destinations
from annals.store.proof.notes import Checkpoint, NoteInvalid, Signer, existing_key
from annals.store.proof.proofs import Nodes
from annals.store.proof.sealing import FOLLOWER, SealDiverged, Sealer, seal
from annals.store.secrets.vault import master_key

LEVEL = 9

output_option = click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write. The default name says what the file holds.",
)
force_option = click.option("--force", is_flag=True, help="Replace a file that exists.")


class OutputExists(OSError):
    """The output file exists, and the caller did not force its replacement."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists, and nothing was written. Name another file, or replace it with --force.")


def require_absent(path: Path, *, force: bool) -> None:
    """Raise OutputExists before the work begins."""
    if not force and os.path.lexists(path):
        raise OutputExists(path)


@contextlib.contextmanager
def output_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Open a draft beside `path`; on success make it durable and move it into place in one step, mode 0600.

    An error within the block leaves no file, and an existing file as it was. Raises OutputExists, OSError.
    """
    require_absent(path, force=force)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _move(draft, path, force=force)
        _sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _move(draft: Path, path: Path, *, force: bool) -> None:
    """Rename; unless forced, a file that appeared in the meantime wins."""
    if force:
        draft.replace(path)
        return
    try:
        path.hardlink_to(draft)  # a rename would replace
    except FileExistsError:
        raise OutputExists(path) from None
    except OSError:  # a file system without hard links
        require_absent(path, force=False)
        draft.replace(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


VARIABLE = "KEYS_PASSPHRASE"
"""Not a setting: it belongs to one command, and settings are printed."""

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"File with the passphrase of --with-keys; without it, {VARIABLE} or a prompt.",
)


def passphrase(file: Path | None, *, new: bool) -> str:
    """Return the passphrase; the prompt for a `new` one asks twice. Raises click.ClickException if it is too short."""
    try:
        given = file.read_text().rstrip("\r\n") if file is not None else os.environ.get(VARIABLE, "")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"The passphrase cannot be read from {file}: {error}") from None
    if not given and file is None:
        given = click.prompt("Passphrase of the keys file", hide_input=True, confirmation_prompt=new)
    if new and len(given) < LEAST_PASSPHRASE:
        raise click.ClickException(f"The passphrase needs {LEAST_PASSPHRASE} characters or more.")
    return str(given)


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


@click.command()
@click.option("--project", default="", help="Only this project's events; what is left out is named by hashes.")
@click.option("--since", default=0, metavar="N", type=click.IntRange(0), help="Only events after this position.")
@click.option("--contents", is_flag=True, help="Bodies, logs and archives as well.")
@click.option(
    "--with-keys",
    "keys_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the data keys to this file, encrypted with a passphrase: with it an import can read what is sealed.",
)
@passphrase_option
@output_option
@force_option
@instance_options
def export(output: Path | None, data: Path | None, keys_file: Path | None, **given: Any) -> None:
    """Write the log as compressed lines of JSON that prove themselves; secrets stay sealed."""
    settings = of_instance(data)
    force, as_json, passphrase_file = (given.pop(name) for name in ("force", "as_json", "passphrase_file"))
    keys = None if keys_file is None else KeysTarget(keys_file, passphrase(passphrase_file, new=True))
    _write(settings, ExportSelection(**given), output, force=force, as_json=as_json, keys=keys)


@click.command()
@output_option
@force_option
@instance_options
def backup(output: Path | None, data: Path | None, *, force: bool, as_json: bool) -> None:
    """Write log, contents and wrapped keys to one file; keep the master key and the seal's key apart from it."""
    _write(of_instance(data), ExportSelection(contents=True, backup=True), output, force=force, as_json=as_json)


def _write(
    settings: Settings,
    wanted: ExportSelection,
    output: Path | None,
    *,
    force: bool,
    as_json: bool,
    keys: KeysTarget | None = None,
) -> None:
    try:
        done = with_log(settings, lambda log: write(log, settings, wanted, output, force=force, keys=keys))
    except (ExportInvalid, SealDiverged, NoteInvalid, BlobError, OSError) as error:
        raise click.ClickException(str(error)) from None
    answer(msgspec.to_builtins(done), as_json, lambda: _text(done))


def _text(done: Exported) -> str:
    lines = [
        f"file      {done.file}, {done.bytes:,} bytes",
        f"events    {done.events:,} up to position {done.position}",
        f"contents  {done.contents:,}, and {done.blobs:,} archives",
        f"key       {done.key}",
    ]
    if done.keys_file:
        lines.append(f"data keys {done.keys_file}: keep it and its passphrase apart from the export")
    return "\n".join(lines)
