"""`annals projects`: tenants, each with its own functions and keys."""

from pathlib import Path
from typing import Any

import click

from annals.app.identity.secret_keys import make_key
from annals.application.project_deletion import end_project
from annals.cli.event_log import actor, with_log
from annals.cli.options import answer, data_option, json_option, of_instance, table
from annals.domain.commands.projects import create_project
from annals.domain.project import Project
from annals.domain.scopes import PROJECT_SCOPES
from annals.store.ids import generate_id
from annals.store.log.log import EventLog
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "projects.sql")


@click.group()
def projects() -> None:
    """Create, list and delete projects."""


@projects.command()
@click.option("--id", "project_id", default="", help="Id of the project; one is made when left out.")
@click.option("--name", default="", help="Name of the project; its id when left out.")
@data_option
@json_option
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
@data_option
@json_option
def list_projects(data: Path | None, as_json: bool) -> None:
    """List all projects."""

    async def work(log: EventLog) -> list[dict[str, Any]]:
        return await log.database.rows(QUERIES["list"])

    rows = with_log(of_instance(data), work)
    answer({"projects": rows, "total": len(rows)}, as_json, lambda: table(rows, ("id", "name", "keys", "functions")))


@projects.command()
@click.option("--id", "project_id", required=True, help="Id of the project.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
@json_option
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
