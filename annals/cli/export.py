"""`annals export` and `annals backup`: the log as a file that can be verified offline."""

from pathlib import Path
from typing import Any

import click
import msgspec

from annals.cli.event_log import with_log
from annals.cli.options import answer, data_option, json_option, of_instance
from annals.cli.output import force_option, output_option
from annals.cli.passphrases import passphrase, passphrase_option
from annals.cli.portable import Exported, KeysTarget, write
from annals.settings import Settings
from annals.store.content.blobs import BlobError
from annals.store.portable.export import ExportSelection
from annals.store.portable.reading import ExportInvalid
from annals.store.proof.notes import NoteInvalid
from annals.store.proof.sealing import SealDiverged


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
@data_option
@json_option
def export(output: Path | None, data: Path | None, keys_file: Path | None, **given: Any) -> None:
    """Write the log as compressed lines of JSON that prove themselves; secrets stay sealed."""
    settings = of_instance(data)
    force, as_json, passphrase_file = (given.pop(name) for name in ("force", "as_json", "passphrase_file"))
    keys = None if keys_file is None else KeysTarget(keys_file, passphrase(passphrase_file, new=True))
    _write(settings, ExportSelection(**given), output, force=force, as_json=as_json, keys=keys)


@click.command()
@output_option
@force_option
@data_option
@json_option
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
