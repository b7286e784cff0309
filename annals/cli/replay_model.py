"""`annals replay --model`: fold the log into a read model from a user's own file."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import psycopg

from annals.cli.options import answer, table
from annals.cli.progress import interruptible
from annals.projections.own_models import FoldBounds, FoldResult, ModelInvalid, ReadModel, Stopped, fold, keep, load
from annals.store.log.log import EventLog


class Wish(NamedTuple):
    """What the options of the command say."""

    model: str
    since: str | None
    until: str | None
    project: str | None
    seconds: float
    memory: int
    table: str | None
    as_csv: bool
    as_json: bool


def replay_model(wish: Wish, run: Callable[[Callable[[EventLog], Any]], Any]) -> None:
    """Fold, then print the rows or keep them in a table. Ends the process when it is interrupted, or a bound is met."""
    path, _, name = wish.model.partition(":")
    try:
        model = load(Path(path), name)
    except ModelInvalid as error:
        raise click.ClickException(str(error)) from None

    async def work(log: EventLog) -> FoldResult:
        bounds = await _bounds(log, wish)
        folded = await fold(log.reader, model, bounds, lambda position, events: bar.at(position, bounds.until, events))
        if wish.table:
            await keep(log.database, wish.table, model, folded)
        return folded

    try:
        with interruptible("nothing was kept.") as bar:
            folded: FoldResult = run(work)
    except (ModelInvalid, Stopped) as error:
        raise click.ClickException(str(error)) from None
    except psycopg.DataError as error:
        sentence = error.diag.message_primary or str(error)
        raise click.ClickException(f"A row of the model does not fit its columns: {sentence}") from None
    _tell(wish, model, folded)


async def _bounds(log: EventLog, wish: Wish) -> FoldBounds:
    newest = await log.reader.position()
    after = 0 if wish.since is None else await _position(log, wish.since, "--since", before=True)
    until = newest if wish.until is None else await _position(log, wish.until, "--until")
    return FoldBounds(after, min(until, newest), wish.project, wish.seconds, wish.memory)


async def _position(log: EventLog, text: str, option: str, *, before: bool = False) -> int:
    if text.isdecimal():
        return int(text) - (1 if before else 0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ModelInvalid(f"{option} takes a position of the log or an RFC 3339 time, not {text!r}.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return await log.reader.position_at(moment - timedelta(milliseconds=1) if before else moment)


def _tell(wish: Wish, model: ReadModel, folded: FoldResult) -> None:
    names = list(model.columns)
    if wish.table:
        content = {"table": f"models.{wish.table}", "rows": len(folded.rows), "position": folded.position}
        answer(content, wish.as_json, lambda: f"{len(folded.rows):,} rows in models.{wish.table}")
    elif wish.as_csv:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerows([names, *folded.rows])
        click.echo(text.getvalue(), nl=False)
    else:
        rows = [dict(zip(names, row, strict=True)) for row in folded.rows]
        answer({"position": folded.position, "rows": rows}, wish.as_json, lambda: table(rows, names))
    rate = folded.events / folded.seconds if folded.seconds else 0
    click.echo(f"{folded.events:,} events in {folded.seconds:.2f} s ({rate:,.0f} a second)", err=True)
