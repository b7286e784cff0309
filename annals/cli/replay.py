"""`annals replay`: rebuilds read models from the log, or compares them with it, while the instance runs.

With `--model` it folds the log into a read model from a user's own file.
"""

import csv
import io
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import psycopg

from annals.cli.event_log import with_log
from annals.cli.options import answer, instance_options, of_instance, table
from annals.cli.progress import interruptible
from annals.projections.own_models import FoldBounds, FoldResult, ModelInvalid, ReadModel, Stopped, fold, keep, load
from annals.projections.replay import replay as replaying
from annals.projections.replay.replay import NAMES
from annals.projections.replay.staging_tables import Comparison, TablesBusy
from annals.settings import Settings
from annals.store.log.log import EventLog


@click.command()
@click.option(
    "--projection", "names", multiple=True, type=click.Choice(sorted(NAMES)), help="Only this one; repeat it."
)
@click.option("--check", is_flag=True, help="Change nothing; compare checksums and fail when one differs.")
@click.option("--model", metavar="FILE.py[:CLASS]", help="Fold the log into a read model of your own instead.")
@click.option("--since", metavar="N|TIME", help="With --model: begin at this position or time.")
@click.option("--until", metavar="N|TIME", help="With --model: end with this position or time.")
@click.option("--project", help="With --model: only this project's events.")
@click.option("--seconds", default=600.0, help="With --model: most seconds that it may take.")
@click.option("--memory", default=2048, help="With --model: most megabytes that it may take.")
@click.option("--table", help="With --model: keep the rows in this table of the schema `models`.")
@click.option("--csv", "as_csv", is_flag=True, help="With --model: print the rows as CSV.")
@instance_options
def replay(names: tuple[str, ...], check: bool, data: Path | None, as_json: bool, **wish: Any) -> None:
    """Rebuild read models from position 0 and put them in the place of the live ones; or fold one of your own."""
    settings = of_instance(data)
    if wish["model"]:
        replay_model(Wish(**wish, as_json=as_json), settings)
        return
    chosen_names = names or NAMES
    try:
        with interruptible("each live read model is whole, the former one or the one made anew.") as bar:
            if check:
                found = with_log(
                    settings, lambda log: replaying.check(log.database, log.reader, chosen_names, report=bar)
                )
            else:
                switched = with_log(
                    settings, lambda log: replaying.rebuild(log.database, log.reader, chosen_names, report=bar)
                )
    except (replaying.AlreadyReplaying, TablesBusy) as error:
        raise click.ClickException(str(error)) from None
    if check:
        _compare(found, as_json=as_json)
    else:
        answer({"rebuilt": [*switched]}, as_json, lambda: f"rebuilt  {', '.join(switched)}")


def _compare(found: Sequence[Comparison], *, as_json: bool) -> None:
    """Print what was compared; ends the process when something differs."""
    content = {
        "same": all(one.same for one in found),
        "projections": [{**one._asdict(), "same": one.same} for one in found],
    }
    answer(content, as_json, lambda: "\n".join(_line(one) for one in found))
    if not content["same"]:
        sys.exit(1)


def _line(one: Comparison) -> str:
    if one.same:
        return f"{one.table:<14} the same: {one.live:,} rows"
    samples = [f"  only live: {row}" for row in one.only_live] + [
        f"  only in the log: {row}" for row in one.only_rebuilt
    ]
    return "\n".join([f"{one.table:<14} DIFFERS: {one.live:,} rows live, {one.rebuilt:,} rebuilt", *samples])


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


def replay_model(wish: Wish, settings: Settings) -> None:
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
            folded = with_log(settings, work)
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
