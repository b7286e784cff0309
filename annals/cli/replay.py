"""`annals replay`: rebuilds read models from the log, or compares them with it, while the instance runs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from annals.cli.event_log import with_log
from annals.cli.options import answer, data_option, json_option, of_instance
from annals.cli.progress import interruptible
from annals.cli.replay_model import Wish, replay_model
from annals.projections.replay import replay as replaying
from annals.projections.replay.replay import NAMES
from annals.projections.replay.staging_tables import Comparison, TablesBusy


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
    settings = of_instance(data)
    if wish["model"]:
        replay_model(Wish(**wish, as_json=as_json), lambda work: with_log(settings, work))
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
    content = {"same": all(one.same for one in found), "projections": [_content(one) for one in found]}
    answer(content, as_json, lambda: "\n".join(_line(one) for one in found))
    if not content["same"]:
        sys.exit(1)


def _content(one: Comparison) -> dict[str, Any]:
    return {**one._asdict(), "same": one.same}


def _line(one: Comparison) -> str:
    if one.same:
        return f"{one.table:<14} the same: {one.live:,} rows"
    samples = [f"  only live: {row}" for row in one.only_live] + [
        f"  only in the log: {row}" for row in one.only_rebuilt
    ]
    return "\n".join([f"{one.table:<14} DIFFERS: {one.live:,} rows live, {one.rebuilt:,} rebuilt", *samples])
