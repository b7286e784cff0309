"""`annals replay`: read models made anew from the log, or compared with it, while everything goes on."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from annals.app.cli.opened import with_log
from annals.app.cli.options import answer, data_option, json_option, of_instance
from annals.app.cli.replay_model import INTERRUPTED, Wish, replay_model
from annals.projections import replay as replaying
from annals.projections.refill import Progress
from annals.projections.replay import NAMES
from annals.projections.shadow import Comparison, TablesBusy
from annals.store.log import EventLog

_WIDTH = 30


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
@data_option
@json_option
def replay(names: tuple[str, ...], check: bool, data: Path | None, as_json: bool, **wish: Any) -> None:
    """Rebuild read models from position 0 and put them in the place of the live ones; or fold one of your own."""
    chosen_names = names or NAMES
    show = Bar()
    settings = of_instance(data)
    if wish["model"]:
        replay_model(Wish(**wish, as_json=as_json), lambda work: with_log(settings, work), show)
        return

    async def compare(log: EventLog) -> list[Comparison]:
        return await replaying.check(log.database, log.facts, chosen_names, report=show)

    async def rebuild(log: EventLog) -> list[str]:
        return [*await replaying.rebuild(log.database, log.facts, chosen_names, report=show)]

    try:
        if not check:
            switched = with_log(settings, rebuild)
            show.end()
            answer({"rebuilt": switched}, as_json, lambda: f"rebuilt  {', '.join(switched)}")
            return
        found = with_log(settings, compare)
    except (replaying.AlreadyReplaying, TablesBusy) as error:
        raise click.ClickException(str(error)) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        show.end()
        click.echo("Interrupted; each live read model is whole, the former one or the one made anew.", err=True)
        sys.exit(INTERRUPTED)
    show.end()
    content = {"same": all(one.same for one in found), "projections": [_content(one) for one in found]}
    answer(content, as_json, lambda: "\n".join(_line(one) for one in found))
    if not content["same"]:
        sys.exit(1)


class Bar:
    """Progress on standard error, where somebody looks at it."""

    def __init__(self) -> None:
        self._looked_at = sys.stderr.isatty()

    def __call__(self, progress: Progress) -> None:
        self.at(progress.position, progress.newest, progress.events, progress.model)

    def at(self, position: int, newest: int, events: int, what: str = "model") -> None:
        """Show how far something is."""
        if self._looked_at:
            done = position / newest if newest else 1.0
            bar = "█" * round(done * _WIDTH)
            click.echo(f"\r{what:<14} {bar:<{_WIDTH}} {done:4.0%}  {events:,} events", err=True, nl=False)

    def end(self) -> None:
        """Leave the line."""
        if self._looked_at:
            click.echo("\r\x1b[2K", err=True, nl=False)


def _content(one: Comparison) -> dict[str, Any]:
    return {**one._asdict(), "same": one.same}


def _line(one: Comparison) -> str:
    if one.same:
        return f"{one.table:<14} the same: {one.live:,} rows"
    samples = [f"  only live: {row}" for row in one.only_live] + [
        f"  only in the log: {row}" for row in one.only_rebuilt
    ]
    return "\n".join([f"{one.table:<14} DIFFERS: {one.live:,} rows live, {one.rebuilt:,} rebuilt", *samples])
