"""`annals proof`: checkpoints, and proofs of events and between checkpoints, checked before they are shown."""

from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from annals.app.checkpoints.routes import Consistency, Inclusion, present, present_consistency, present_inclusion
from annals.cli.event_log import with_log
from annals.cli.options import answer, instance_options, of_instance, table
from annals.store.log.log import EventLog
from annals.store.postgres.database import Row
from annals.store.proof.notes import NoteInvalid, existing_key
from annals.store.proof.proofs import Proofs
from annals.store.tree.merkle import ProofInvalid, check_consistency, check_inclusion
from annals.store.tree.tiles import QUERIES


@click.group()
def proof() -> None:
    """Show signed checkpoints, and prove what they cover."""


@proof.command()
@instance_options
def key(data: Path | None, as_json: bool) -> None:
    """Print the verifier key. Send it by a trusted channel to people who check proofs."""
    try:
        text = str(existing_key(of_instance(data).seal_key).verifier)
    except NoteInvalid as error:
        raise click.ClickException(str(error)) from None
    answer({"key": text}, as_json, lambda: text)


@proof.command()
@instance_options
def checkpoints(data: Path | None, as_json: bool) -> None:
    """List the signed checkpoints, oldest first."""
    rows = with_log(of_instance(data), lambda log: log.database.rows(QUERIES["checkpoints"]))
    content = {"checkpoints": msgspec.to_builtins([present(row) for row in rows]), "total": len(rows)}
    shown = [
        {**row, "root": bytes(row["root"]).hex(), "signed": f"{row['signed_at']:%Y-%m-%d %H:%M:%S}"} for row in rows
    ]
    answer(content, as_json, lambda: table(shown, ("size", "position", "signed", "root")))


@proof.command()
@click.argument("position", type=click.IntRange(1))
@click.option("--checkpoint", type=click.IntRange(1), help="Size of the checkpoint; the newest when left out.")
@instance_options
def event(position: int, checkpoint: int | None, data: Path | None, as_json: bool) -> None:
    """Prove that an event is in the signed log, as it is stored now."""

    async def work(log: EventLog) -> Inclusion:
        proofs = Proofs(log.database, log.contents.blobs)
        row, leaf, signed = await proofs.row(position), await proofs.leaf(position), await _checkpoint(log, checkpoint)
        if row is None:
            raise click.ClickException(f"There is no event at position {position}.")
        if leaf is None or leaf >= signed["size"]:
            raise click.ClickException(f"Position {position} is newer than the checkpoint of {signed['size']} events.")
        return Inclusion(row, leaf, await proofs.nodes.inclusion(leaf, signed["size"]), signed)

    found = with_log(of_instance(data), work)
    signed = found.checkpoint
    _holds(lambda: check_inclusion(found.leaf_hash, found.leaf, signed["size"], found.path, bytes(signed["root"])))
    content = msgspec.to_builtins(present_inclusion(found))
    answer(
        content,
        as_json,
        lambda: (
            f"position {position} is leaf {found.leaf} of {signed['size']}: {found.row.topic} of {found.row.stream}\n"
            f"leaf hash  {found.leaf_hash.hex()}\nroot       {bytes(signed['root']).hex()}\n\n{signed['note']}"
        ),
    )


@proof.command()
@click.argument("former", type=click.IntRange(1))
@click.argument("later", type=click.IntRange(1), required=False)
@instance_options
def consistency(former: int, later: int | None, data: Path | None, as_json: bool) -> None:
    """Prove that the checkpoint of size FORMER is the beginning of the one of size LATER (the newest when left out)."""

    async def work(log: EventLog) -> Consistency:
        proofs = Proofs(log.database, log.contents.blobs)
        one, other = await _checkpoint(log, former), await _checkpoint(log, later)
        first, second = sorted((one, other), key=lambda row: int(row["size"]))
        return Consistency(first, second, await proofs.nodes.consistency(first["size"], second["size"]))

    found = with_log(of_instance(data), work)
    sides = [(row["size"], bytes(row["root"])) for row in (found.former, found.later)]
    _holds(lambda: check_consistency(sides[0], sides[1], found.path))
    content = msgspec.to_builtins(present_consistency(found))
    answer(content, as_json, lambda: f"the log of {sides[1][0]} events begins with the one of {sides[0][0]}")


def _holds(check: Callable[[], None]) -> None:
    try:
        check()
    except ProofInvalid as error:
        raise click.ClickException(f"The proof does not hold: {error}. Run `annals verify`.") from None


async def _checkpoint(log: EventLog, size: int | None) -> Row:
    row = await log.database.row(QUERIES["newest_checkpoint" if size is None else "checkpoint"], {"size": size})
    if row is None:
        raise click.ClickException("There is no such checkpoint. `annals proof checkpoints` lists those there are.")
    return row
