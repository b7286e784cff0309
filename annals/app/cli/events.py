"""`annals events`: the log as it is, oldest first, one event a line."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from annals.app.cli.opened import known_project, with_log
from annals.app.cli.options import data_option, fitting, json_option, of_instance
from annals.app.history.events import Wanted
from annals.app.history.kinds import EventType, Resource
from annals.app.log_text import printable
from annals.store.facts import Fact
from annals.store.listener import Listener
from annals.store.log import EventLog

BATCH = 500
_LONGEST, _MANY = 40, 3
_UNTOLD = ("digest", "sealed", "incarnation", "originator_topic", "project_id", "_by", "_at")
_APART = frozenset({"originator_id", "originator_version", "timestamp", "metadata"})


@click.command()
@click.option("--after", default=0, metavar="N", help="Begin behind this position.")
@click.option("--follow", is_flag=True, help="Go on with new events until Ctrl-C.")
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
@data_option
@json_option
def events(after: int, follow: bool, project: str | None, data: Path | None, as_json: bool, **wish: str | None) -> None:
    """Show the event log; with --json one object a line. Secrets are sealed, contents named by digest."""
    wanted = Wanted(wish["topic"], wish["resource"], wish["actor"])

    async def work(log: EventLog) -> None:
        await known_project(log, project)
        async with Listener.open(log.database) as listener:
            position = after
            while True:
                heard = listener.count
                while batch := await log.facts.after(position, BATCH, project=project):
                    for fact in filter(wanted.fits, batch):
                        click.echo(as_line(fact) if as_json else as_text(fact))
                    position = batch[-1].position
                if not follow:
                    return
                await listener.wait(heard, 5)

    try:
        with_log(of_instance(data), work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return


def as_line(fact: Fact) -> str:
    """One JSON object."""
    event = fact.event
    content = {
        "position": fact.position,
        "recordedAt": fact.recorded_at,
        "project": fact.project,
        "stream": event.originator_id,
        "version": event.originator_version,
        "topic": type(event).TOPIC,
        "metadata": event.metadata,
        "data": _own(event),
    }
    return msgspec.json.encode(content, enc_hook=str).decode()


def as_text(fact: Fact) -> str:
    """One line for a person: position, time, what happened to what, by whom, and what tells it from others."""
    event = fact.event
    aggregate, _, name = event.originator_id.partition(":")
    name = name.rpartition(":")[2]
    what = type(event).TOPIC.rpartition(".")[2].replace("_", " ")
    actor = event.metadata.get("actor", "").split("-", 1)[0]
    details = " ".join(f"{key}={_short(value)}" for key, value in _telling(_own(event), event.originator_id))
    time = f"{fact.recorded_at:%Y-%m-%d %H:%M:%S}.{fact.recorded_at.microsecond // 1000:03d}"
    head = f"{fact.position:>6}  {time}  {aggregate:<10}  {name:<20}"
    return f"{head}  {click.style(f'{what:<22}', bold=True)}  {actor:<26}  {details}".rstrip()


def _own(event: Any) -> dict[str, Any]:
    """The fields that this event alone has."""
    return {name: getattr(event, name) for name in event.__struct_fields__ if name not in _APART}


def _telling(fields: dict[str, Any], stream: str) -> Iterator[tuple[str, object]]:
    """Fields and their fields that a person would read: no digests and seals, nothing empty, nothing said already."""
    for name, value in msgspec.to_builtins(fields, enc_hook=str).items():
        if isinstance(value, dict):
            yield from _telling(value, stream)
        elif isinstance(value, list):
            if value and all(isinstance(item, str) for item in value):
                yield name, f"{len(value)} of them" if len(value) > _MANY else ",".join(value)
        elif value not in ("", None, False, 0) and not name.endswith(_UNTOLD) and not _said(name, str(value), stream):
            yield name, value


def _said(name: str, value: str, stream: str) -> bool:
    """The stream's own id, and where a blob lies."""
    return value in stream or (name == "key" and "/" in value)


def _short(value: object) -> str:
    text = printable(str(value))
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f'"{text}"' if " " in text else text
