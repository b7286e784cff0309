"""`annals events`: the log as it is, oldest first, one event a line."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from annals.app.history.events import EventFilter, EventType, Resource
from annals.app.history.presenting import Presenter
from annals.app.parameters.kinds import ParameterKind, ValidationError
from annals.app.wire import encode
from annals.cli.event_log import known_project, with_log
from annals.cli.options import instance_options, of_instance
from annals.store.log.log import EventLog
from annals.store.log.reader import RecordedEvent
from annals.store.postgres.listener import Listener
from annals.telemetry.log_text import printable

BATCH = 500
MOST_LAST = 10_000
"""Most events of `--last`."""

_LONGEST, _MANY = 40, 3
_HIDDEN_FIELDS = ("digest", "sealed", "incarnation", "originator_topic", "project_id", "_by", "_at")
_APART = frozenset({"originator_id", "originator_version", "timestamp", "metadata"})


def fitting(kind: ParameterKind) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return an option's callback that applies the API's rules for the parameter."""

    def judged(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else kind.parse(value)
        except ValidationError as invalid:
            raise click.BadParameter(f"{invalid}.") from None

    return judged


@click.command()
@click.option("--from", "start", type=click.IntRange(1), metavar="P", help="Begin with the event at position P.")
@click.option("--last", type=click.IntRange(1, MOST_LAST), metavar="N", help="Begin with the newest N events that fit.")
@click.option("--follow", is_flag=True, help="Wait for new events until Ctrl-C; alone, show no earlier ones.")
@click.option("--project", default=None, help="Only this project's events.")
@click.option(
    "--type",
    "topic",
    callback=fitting(EventType()),
    help="Only events of this type, such as function.updated or function.",
)
@click.option(
    "--resource", callback=fitting(Resource()), help="Only what happened to this, such as function:hello or execution."
)
@click.option("--actor", default=None, help="Only what this one did, such as worker or key:ID.")
@instance_options
def events(
    data: Path | None, *, start: int | None, last: int | None, follow: bool, project: str | None, as_json: bool,
    **wish: str | None,
) -> None:  # fmt: skip
    """Show the event log; with --json one object a line, shaped as the HTTP API shapes events."""
    if start is not None and last is not None:
        raise click.UsageError("--from and --last both say where to begin. Give one of them.")
    wanted = EventFilter(wish["topic"], wish["resource"], wish["actor"])

    async def work(log: EventLog) -> None:
        await known_project(log, project)
        feed = _Feed(log, project, wanted, as_json=as_json)
        newest = await log.reader.position()
        if start is not None and start > newest + 1:
            raise click.ClickException(f"Position {start} lies in the future: the log ends at {newest}.")
        async with Listener.open(log.database) as listener:
            heard = listener.count
            if last is not None:
                await feed.show(await feed.newest(last, newest))
                position = newest
            else:
                position = await feed.after(newest if follow and start is None else (start or 1) - 1)
            while follow:
                await listener.wait(heard, 5)
                heard = listener.count
                position = await feed.after(position)

    try:
        with_log(of_instance(data), work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return


class _Feed:
    """Prints the events that fit."""

    def __init__(self, log: EventLog, project: str | None, wanted: EventFilter, *, as_json: bool) -> None:
        self._reader, self._project, self._wanted, self._as_json = log.reader, project, wanted, as_json
        self._presenter = Presenter(log.database)

    async def after(self, position: int) -> int:
        """Show all events after a position; return the position of the newest one that was read."""
        while batch := await self._reader.after(position, BATCH, project=self._project):
            await self.show([recorded_event for recorded_event in batch if self._wanted.fits(recorded_event)])
            position = batch[-1].position
        return position

    async def newest(self, count: int, end: int) -> list[RecordedEvent]:
        """The newest events that fit up to a position, in order: the log is read backwards, span by span."""
        found: list[RecordedEvent] = []
        span = BATCH
        while end > 0 and len(found) < count:
            begin = max(0, end - span)
            found = [*await self._between(begin, end), *found]
            end, span = begin, min(2 * span, MOST_LAST)
        return found[-count:]

    async def _between(self, position: int, end: int) -> list[RecordedEvent]:
        found: list[RecordedEvent] = []
        while batch := await self._reader.after(position, BATCH, project=self._project, until=end):
            found += filter(self._wanted.fits, batch)
            position = batch[-1].position
        return found

    async def show(self, recorded_events: list[RecordedEvent]) -> None:
        if self._as_json:
            for event in await self._presenter.events(recorded_events):
                click.echo(encode(event))
            return
        for recorded_event in recorded_events:
            click.echo(as_text(recorded_event))


def as_text(recorded_event: RecordedEvent) -> str:
    """One line for a person: position, time, what happened to what, by whom, and what tells it from others."""
    event = recorded_event.event
    aggregate, _, name = event.originator_id.partition(":")
    name = name.rpartition(":")[2]
    happened = type(event).TOPIC.rpartition(".")[2].replace("_", " ")
    actor = event.metadata.get("actor", "").split("-", 1)[0]
    details = " ".join(f"{key}={_short(value)}" for key, value in _notifying(_own(event), event.originator_id))
    time = f"{recorded_event.recorded_at:%Y-%m-%d %H:%M:%S}.{recorded_event.recorded_at.microsecond // 1000:03d}"
    head = f"{recorded_event.position:>6}  {time}  {aggregate:<10}  {name:<20}"
    return f"{head}  {click.style(f'{happened:<22}', bold=True)}  {actor:<26}  {details}".rstrip()


def _own(event: Any) -> dict[str, Any]:
    """The fields that this event alone has."""
    return {name: getattr(event, name) for name in event.__struct_fields__ if name not in _APART}


def _notifying(fields: dict[str, Any], stream: str) -> Iterator[tuple[str, object]]:
    """Fields and their fields that a person would read: no digests and seals, nothing empty, nothing said already."""
    for name, value in msgspec.to_builtins(fields, enc_hook=str).items():
        if isinstance(value, dict):
            yield from _notifying(value, stream)
        elif isinstance(value, list):
            if value and all(isinstance(item, str) for item in value):
                left_out = len(value) - _MANY
                yield name, ",".join(value[:_MANY]) + (f" and {left_out} more" if left_out > 0 else "")
        elif (
            value not in ("", None, False, 0)
            and not name.endswith(_HIDDEN_FIELDS)
            and not _said(name, str(value), stream)
        ):
            yield name, value


def _said(name: str, value: str, stream: str) -> bool:
    """The stream's own id, and where a blob lies."""
    return value in stream or (name == "key" and "/" in value)


def _short(value: object) -> str:
    text = printable(str(value))
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f'"{text}"' if " " in text else text
