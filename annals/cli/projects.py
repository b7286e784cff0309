"""`annals projects` and `annals keys`: tenants, and the API keys that act for them.

`annals keys rotate-master` wraps the data keys with a new master key while the instance runs.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from annals.app.identity.secret_keys import make_key
from annals.application.deletion import end_project
from annals.cli.event_log import actor, with_log
from annals.cli.options import answer, instance_options, of_instance, table
from annals.domain.commands.projects import create_project
from annals.domain.project import Project
from annals.domain.scopes import PROJECT_SCOPES
from annals.store.errors import MasterKeyWrong
from annals.store.ids import generate_id
from annals.store.log.log import EventLog
from annals.store.postgres import sql
from annals.store.secrets.vault import Vault, master_key

QUERIES = sql.load(__package__, "projects.sql")

project_option = click.option("--project", "project_id", required=True, help="Id of the project.")

SECOND_PASS_SECONDS = 2.0
"""Pause before the second pass, which rewraps keys that a process wrapped while the file changed."""


@click.group()
def projects() -> None:
    """Create, list and delete projects."""


@projects.command()
@click.option("--id", "project_id", default="", help="Id of the project; one is made when left out.")
@click.option("--name", default="", help="Name of the project; its id when left out.")
@instance_options
def create(project_id: str, name: str, data: Path | None, as_json: bool) -> None:
    """Create a project with a key that has all scopes; its secret is shown this once."""
    project_id = project_id or generate_id()
    checked_id(project_id)
    made = make_key("First key", PROJECT_SCOPES)

    async def work(log: EventLog) -> None:
        absent, named = Project.absent(project_id), name or project_id
        await log.run(create_project, absent, meta=actor(), project_id=project_id, name=named, keys=[made.key])

    with_log(of_instance(data), work)
    content = {"id": project_id, "key": made.secret}
    answer(content, as_json, lambda: f"project  {project_id}\nkey      {made.secret}")


@projects.command("list")
@instance_options
def list_projects(data: Path | None, as_json: bool) -> None:
    """List all projects."""

    async def work(log: EventLog) -> list[dict[str, Any]]:
        return await log.database.rows(QUERIES["list"])

    rows = with_log(of_instance(data), work)
    answer({"projects": rows, "total": len(rows)}, as_json, lambda: table(rows, ("id", "name", "keys", "functions")))


@projects.command()
@click.option("--id", "project_id", required=True, help="Id of the project.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@instance_options
def delete(project_id: str, yes: bool, data: Path | None, as_json: bool) -> None:
    """Delete a project with all it holds."""
    settings = of_instance(data)
    if not yes and not as_json:
        click.confirm(f"Delete project {project_id} with its functions, keys and secrets?", abort=True)

    async def work(log: EventLog) -> None:
        await end_project(log, project_id, actor())

    with_log(settings, work)
    answer({"id": project_id, "deleted": True}, as_json, lambda: f"deleted  {project_id}")


def checked_id(value: str) -> None:
    """Raises a ClickException unless it is a valid id: what a stream's name may hold."""
    allowed = all(c.isascii() and (c.isalnum() or c in "._-") for c in value)
    if not (1 <= len(value) <= 36 and allowed and value[0].isalnum()):
        raise click.ClickException(
            f"{value!r} is no id: at most 36 letters, digits, dots, hyphens and underscores, beginning with no sign."
        )


@click.group()
def keys() -> None:
    """Create, list and revoke a project's API keys."""


@keys.command("create")
@project_option
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="What it may do; repeat it. `all` is all.")
@click.option("--name", default="FirstKey", show_default=True, help="What the key is for.")
@click.option("--expires", default="", metavar="ISO8601", help="When it ends to be valid; never when left out.")
@instance_options
def create_key(
    *, project_id: str, scopes: tuple[str, ...], name: str, expires: str, data: Path | None, as_json: bool
) -> None:
    """Create a key; its secret is shown this once."""
    made = make_key(name, _known(scopes), _moment(expires))

    async def work(log: EventLog) -> None:
        await log.run(Project.add_key, Project.key(project_id), meta=actor(), key=made.key)

    with_log(of_instance(data), work)
    content = {"id": made.key.key_id, "secret": made.secret}
    answer(content, as_json, lambda: f"key     {made.key.key_id}\nsecret  {made.secret}")


@keys.command("list")
@project_option
@instance_options
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
@instance_options
def revoke(project_id: str, key_id: str, data: Path | None, as_json: bool) -> None:
    """Revoke a key: it is refused from the next request on."""

    async def work(log: EventLog) -> None:
        await log.run(Project.revoke_key, Project.key(project_id), meta=actor(), key_id=key_id)

    with_log(of_instance(data), work)
    answer({"id": key_id, "revoked": True}, as_json, lambda: f"revoked  {key_id}")


@keys.command("rotate-master")
@click.option("--stage", is_flag=True, help="Only put a new key into the file, to copy it to the other hosts first.")
@instance_options
def rotate_master(*, stage: bool, data: Path | None, as_json: bool) -> None:
    """Wrap every project's data key with a new master key. Nothing stops, and nothing that was sealed changes."""
    settings = of_instance(data)
    path = settings.master_key
    if not path.exists():
        raise click.ClickException(f"There is no master key at {path}. Name it with ANNALS_MASTER_KEY_FILE.")
    try:
        masters = master_key(path)
        if len(masters) == 1:  # with two keys, one was staged or a rotation was interrupted
            masters.add()
    except (MasterKeyWrong, OSError) as error:
        raise click.ClickException(str(error)) from None
    if stage:
        answer({"file": str(path), "keys": len(masters)}, as_json, lambda: f"staged   {path}")
        return

    async def work(log: EventLog) -> int:
        vault = Vault(log.database, masters)
        wrapped = await vault.rewrap()
        await asyncio.sleep(SECOND_PASS_SECONDS)
        return wrapped + await vault.rewrap()

    rewrapped = with_log(settings, work)
    former = masters.retire()
    content = {"file": str(path), "dataKeys": rewrapped, "former": str(former)}
    answer(content, as_json, lambda: f"rotated  {rewrapped} data keys\nformer   {former}")


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
