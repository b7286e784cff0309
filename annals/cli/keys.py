"""`annals keys`: what may act for a project, and with which scopes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from annals.app.identity.secret_keys import make_key
from annals.cli.event_log import actor, with_log
from annals.cli.master import rotate_master
from annals.cli.options import answer, data_option, json_option, of_instance, table
from annals.cli.projects import QUERIES
from annals.domain.commands.projects import add_key, revoke_key
from annals.domain.project import Project
from annals.domain.scopes import PROJECT_SCOPES
from annals.store.log.log import EventLog

project_option = click.option("--project", "project_id", required=True, help="Id of the project.")


@click.group()
def keys() -> None:
    """Create, list and revoke a project's API keys."""


@keys.command()
@project_option
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="What it may do; repeat it. `all` is all.")
@click.option("--name", default="FirstKey", show_default=True, help="What the key is for.")
@click.option("--expires", default="", metavar="ISO8601", help="When it ends to be valid; never when left out.")
@data_option
@json_option
def create(
    *, project_id: str, scopes: tuple[str, ...], name: str, expires: str, data: Path | None, as_json: bool
) -> None:
    """Create a key; its secret is shown this once."""
    made = make_key(name, _known(scopes), _moment(expires))

    async def work(log: EventLog) -> None:
        await log.run(add_key, Project.key(project_id), meta=actor(), key=made.key)

    with_log(of_instance(data), work)
    content = {"id": made.key.key_id, "secret": made.secret}
    answer(content, as_json, lambda: f"key     {made.key.key_id}\nsecret  {made.secret}")


@keys.command("list")
@project_option
@data_option
@json_option
def list_keys(project_id: str, data: Path | None, as_json: bool) -> None:
    """List a project's keys. Secrets cannot be shown: only their digests are stored."""

    async def work(log: EventLog) -> list[dict[str, Any]]:
        await log.load(Project.key(project_id))
        return await log.database.rows(QUERIES["keys"], {"project": project_id})

    rows = with_log(of_instance(data), work)
    shown = [{**row, "scopes": len(row["scopes"]), "expires": row["expires_at"] or "never"} for row in rows]
    answer({"keys": rows, "total": len(rows)}, as_json, lambda: table(shown, ("id", "name", "scopes", "expires")))


@keys.command()
@project_option
@click.option("--id", "key_id", required=True, help="Id of the key.")
@data_option
@json_option
def revoke(project_id: str, key_id: str, data: Path | None, as_json: bool) -> None:
    """Revoke a key: it is refused from the next request on."""

    async def work(log: EventLog) -> None:
        await log.run(revoke_key, Project.key(project_id), meta=actor(), key_id=key_id)

    with_log(of_instance(data), work)
    answer({"id": key_id, "revoked": True}, as_json, lambda: f"revoked  {key_id}")


keys.add_command(rotate_master)


def _known(scopes: tuple[str, ...]) -> list[str]:
    if not scopes:
        raise click.ClickException("A key needs at least one --scope, such as functions.read; `all` gives it all.")
    if scopes == ("all",):
        return [*PROJECT_SCOPES]
    unknown = [scope for scope in scopes if scope not in PROJECT_SCOPES]
    if unknown:
        raise click.ClickException(f"There is no scope {unknown[0]}. Those there are: {', '.join(PROJECT_SCOPES)}.")
    return list(dict.fromkeys(scopes))


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.ClickException(f"{text!r} is no time. Write it as 2026-12-31T12:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
