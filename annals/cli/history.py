"""`annals history`: what happened to one resource, oldest first, with the fields that each event changed."""

from pathlib import Path
from typing import Any

import click
import msgspec

from annals.app.history import schemas
from annals.app.history.presenting import VARIABLES_READ, Presenter
from annals.app.history.streams import changes_at, whole
from annals.cli.event_log import with_log
from annals.cli.options import instance_options, of_instance
from annals.settings import Settings
from annals.store.log.log import EventLog
from annals.store.log.reader import RecordedEvent
from annals.store.secrets.vault import Vault, master_key
from annals.telemetry.log_text import printable

_KINDS = ("function", "deployment", "execution", "project", "user", "team")
_LONGEST = 60


@click.command()
@click.argument("resource", metavar="KIND:ID")
@click.option("--project", default="default", show_default=True, help="Whose resource it is.")
@click.option("--last", default=0, metavar="N", help="Only the newest N events.")
@instance_options
def history(resource: str, project: str, last: int, data: Path | None, as_json: bool) -> None:
    """Show what happened to KIND:ID, such as function:hello, also to one that is gone; secrets as fingerprints.

    KIND is one of function, deployment, execution, user and team; `project` alone is the project itself, and
    project:ID another one.
    """
    kind, _, own_id = resource.partition(":")
    if kind not in _KINDS or not (own_id or kind == "project"):
        raise click.ClickException(f"{resource!r} is none of {', '.join(_KINDS)} with a colon and an id.")
    project = own_id if kind == "project" and own_id else project
    stream = f"project:{project}" if kind == "project" else f"{kind}:{project}:{own_id}"

    async def work(log: EventLog) -> None:
        recorded_events = await whole(log.reader, stream)
        if not recorded_events:
            raise click.ClickException(f"Nothing ever happened to {resource} in project {project}.")
        shown = recorded_events[-last:] if last else recorded_events
        changes = changes_at(recorded_events, {recorded_event.position for recorded_event in shown})
        presenter = Presenter(log.database, _vault(log, settings), VARIABLES_READ)
        events = await presenter.with_changes(
            [(recorded_event, changes[recorded_event.position]) for recorded_event in shown]
        )
        for recorded_event, event in zip(shown, events, strict=True):
            click.echo(msgspec.json.encode(event).decode() if as_json else _text(recorded_event, event))

    settings = of_instance(data)
    with_log(settings, work)


def _vault(log: EventLog, settings: Settings) -> Vault | None:
    """None without the instance's master key, as on another host: values stay fingerprints."""
    path = settings.master_key
    return Vault(log.database, master_key(path)) if path.exists() else None


def _text(recorded_event: RecordedEvent, event: schemas.EventModel) -> str:
    """A heading, and a line for each field."""
    actor = event.actor.name or event.actor.id
    actor_text = f"{event.actor.type} {actor}".strip()
    if event.actor.credential:
        actor_text += f" ({event.actor.credential.type} {event.actor.credential.id})"
    time = f"{recorded_event.recorded_at:%Y-%m-%d %H:%M:%S}"
    head = f"{recorded_event.position:>6}  {time}  {click.style(event.type, bold=True)}  by {actor_text}"
    changes = event.changes or ()
    lines = [f"        {change.field}: {_value(change.former)} → {_value(change.latter)}" for change in changes]
    return "\n".join([head, *lines])


def _value(value: Any) -> str:
    if value is None:
        return "–"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = printable(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
