"""`annals usage`: what was used, by whom, and how it went, as small plots in the terminal."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from annals.app.usage import parameters, schemas
from annals.cli.event_log import known_project, with_log
from annals.cli.options import instance_options, of_instance
from annals.projections.usage.answer import Measured, UsageAnswer, UsageGroup, Value, answer
from annals.projections.usage.question import DIMENSIONS, INTERVALS, MEASURES, Question
from annals.store.log.log import EventLog

_LAST = re.compile(r"(?P<count>[1-9]\d{0,3})(?P<unit>[mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH, _LEAST = 40, 8
"""Characters of a plot, at most and at least."""

_GAP = 2
"""Characters that a column takes beside its content."""
_TIMES = frozenset({"duration", "p50", "p95", "p99", "queueTime", "buildTime"})
_SIZES = frozenset({"storage", "buildStorage"})


def _last(_context: click.Context, _parameter: click.Parameter, value: str) -> timedelta:
    match = _LAST.fullmatch(value)
    if match is None:
        raise click.BadParameter("say for instance 90m, 24h, 7d or 2w.")
    return timedelta(**{_UNITS[match["unit"]]: int(match["count"])})


@click.command()
@click.option("--project", default="default", show_default=True, help="Whose usage.")
@click.option("--last", default="24h", show_default=True, callback=_last, help="How far back: 90m, 24h, 7d, 2w.")
@click.option("--from", "start", default=None, help="A time to begin at instead, such as 2026-03-01.")
@click.option("--to", "end", default=None, help="A time to end at; now where left out.")
@click.option("--interval", type=click.Choice(INTERVALS), help="Length of a period; chosen to fit where left out.")
@click.option("--timezone", default="UTC", show_default=True, help="Where days, weeks and months begin.")
@click.option("--by", type=click.Choice(DIMENSIONS), multiple=True, help="Group by this; repeat it.")
@click.option(
    "--measure", type=click.Choice(list(MEASURES)), multiple=True, default=("count", "errors", "p50", "p95"),
    show_default=True, help="What to show; repeat it. The first is plotted and ranks the groups.",
)  # fmt: skip
@click.option("--filter", "filters", multiple=True, help="dimension:value, such as trigger:http; repeat it.")
@click.option("--top", default=10, show_default=True, help="Most groups; the rest is one.")
@click.option("--compare", is_flag=True, help="Show the change against the periods before.")
@click.option("--csv", "as_csv", is_flag=True, help="Answer in CSV, a line for each period of each group.")
@instance_options
def usage(data: Path | None, as_json: bool, as_csv: bool, project: str, last: timedelta, **given: Any) -> None:
    """Show how much was called, how long it took, and what else was used."""
    settings = of_instance(data)

    async def work(log: EventLog) -> tuple[Question, UsageAnswer]:
        await known_project(log, project)
        now = datetime.now(UTC)
        values = parameters.ASK.parse(_sent(given, last, now))
        question = parameters.question(project, values, now=now, minute_days=settings.execution_retention_days)
        return question, await answer(log.database, log.reader, question)

    question, found = with_log(settings, work)
    if as_csv:
        click.echo(schemas.as_csv(question, found), nl=False)
    elif as_json:
        click.echo(schemas.json(question, found))
    else:
        console = Console()
        console.print(plotted(question, found, width=console.width))


def _sent(given: dict[str, Any], last: timedelta, now: datetime) -> dict[str, Any]:
    """As a client would send it. Without an interval, about as many periods as a plot has free_width for."""
    lengths = {"quarter": timedelta(hours=6), "hour": timedelta(days=2), "day": timedelta(days=60)}
    fitting = next((name for name, most in lengths.items() if last <= most), "week")
    interval = given["interval"] or (None if given["start"] else fitting)
    end = given["end"] or now.isoformat()
    return {
        "from": given["start"] or (parameters.Timestamp().parse(end) - last).isoformat(),
        "to": end,
        "interval": interval,
        "timezone": given["timezone"],
        "groupBy": list(given["by"]),
        "measures": list(given["measure"]),
        "filters": list(given["filters"]),
        "top": given["top"],
        "compare": given["compare"],
    }


def plotted(question: Question, found: UsageAnswer, *, width: int = 80) -> Table:
    """A line for each group: its key, its numbers, and the first measure over time.

    The plot has what the other columns leave of `width` characters. Only keys are cut where that is too little.
    """
    zone = question.zone
    title = f"{found.periods[0].astimezone(zone):%Y-%m-%d %H:%M} to {found.end.astimezone(zone):%Y-%m-%d %H:%M} {zone}"
    table = Table(title=f"{title}, by {question.interval}", title_justify="left", box=None, header_style="bold")
    for dimension in question.group_by:
        table.add_column(dimension, no_wrap=True, overflow="ellipsis")
    for measure in question.measures:
        table.add_column(measure, justify="right", no_wrap=True, min_width=len(measure))
    groups = [(group, [_key(group.key[d]) for d in question.group_by]) for group in found.groups]
    blank = [""] * max(len(question.group_by) - 1, 0)
    if found.other is not None and question.group_by:
        groups.append((found.other, ["others", *blank]))
    groups.append((found.total, ["all", *blank] if question.group_by else []))
    rows = [([*map(Text, key), *(_number(m, group) for m in question.measures)], group.series) for group, key in groups]
    names = [*question.group_by, *question.measures]
    taken = sum(
        max([len(name), *(cells[column].cell_len for cells, _ in rows)]) + _GAP for column, name in enumerate(names)
    )
    free_width = min(_WIDTH, max(_LEAST, width - taken - _GAP))
    table.add_column(question.measures[0], no_wrap=True, min_width=_LEAST)
    for cells, series in rows:
        table.add_row(*cells, bars([values[question.measures[0]] for values in series], free_width))
    return table


def _key(value: str | int) -> str:
    return str(value) if value != "" else "–"


def _number(measure: str, group: UsageGroup) -> Text:
    text = Text(shown(measure, group.total[measure]))
    if group.previous is not None:
        text.append(f" {_change(measure, group.total, group.previous)}", style="dim")
    return text


def _change(measure: str, total: Measured, previous: Measured) -> str:
    now, former = total[measure], previous[measure]
    if not former or now is None:
        return "new" if now and not former else "–"
    return f"{(now - former) / former:+.0%}"


def shown(measure: str, value: Value) -> str:
    """A value with its unit."""
    if value is None:
        return "–"
    if measure in _TIMES:
        return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.0f} s"
    if measure in _SIZES:
        return f"{value:,.0f} B" if value < 10_000 else f"{value / 1_000_000:,.2f} MB"
    return f"{value:,.0f}"


def bars(values: Sequence[Value], most: int = _WIDTH) -> str:
    """One bar a period, at most so many: where there are more, each is the largest of its neighbours."""
    step = -(-len(values) // most)
    heights = [max((v or 0) for v in values[i : i + step]) for i in range(0, len(values), step)]
    top = max(heights, default=0)
    return "".join(" " if h <= 0 else _BARS[min(int(h / top * len(_BARS)), len(_BARS) - 1)] for h in heights)
