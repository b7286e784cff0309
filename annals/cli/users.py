"""`annals users`: the console's users, who are the admins of the instance.

The first start creates an admin too, if the settings name one.
"""

import secrets
from pathlib import Path
from typing import Any

import click
import msgspec
import structlog

from annals.app.identity.passwords import LEAST, MOST, Passwords
from annals.app.parameters.identity import Email, Password
from annals.app.parameters.kinds import ValidationError
from annals.cli.event_log import actor, with_log
from annals.cli.options import answer, instance_options, of_instance, table
from annals.domain.commands.projects import delete_user
from annals.domain.errors import UserAlreadyExists
from annals.domain.project import CONSOLE
from annals.domain.team import Team
from annals.domain.user import User
from annals.settings import Invalid, Settings
from annals.store.ids import generate_id
from annals.store.log.log import EventLog
from annals.store.postgres import sql
from annals.store.secrets.vault import Vault
from annals.supervisor.folders import private_file

QUERIES = sql.load(__package__, "users.sql")

FILE = "admin.json"

log = structlog.get_logger()


@click.group()
def users() -> None:
    """Create, list and delete the admins of an instance."""


@users.command("create-admin")
@click.option("--email", required=True, help="What the admin signs in with.")
@click.option("--password", default="", help="At least 8 characters; asked for when left out.")
@click.option("--name", default="", help="What the admin is called.")
@instance_options
def create_admin(*, email: str, password: str, name: str, data: Path | None, as_json: bool) -> None:
    """Create an admin, who may do everything in every project."""
    settings = of_instance(data)
    password = password or click.prompt("Password", hide_input=True, confirmation_prompt=True)
    email = fitting(Email(), email)
    fitting(Password(LEAST, MOST), password)

    async def work(log: EventLog) -> str:
        return await make_admin(log, settings, email=email, password=password, name=name)

    user_id = with_log(settings, work)
    answer({"id": user_id, "email": email}, as_json, lambda: f"admin  {user_id}  {email}")


@users.command("list")
@instance_options
def list_admins(data: Path | None, as_json: bool) -> None:
    """List the admins."""

    async def work(log: EventLog) -> list[dict[str, Any]]:
        return await log.database.rows(QUERIES["list"], {"project": CONSOLE})

    rows = with_log(of_instance(data), work)
    answer({"users": rows, "total": len(rows)}, as_json, lambda: table(rows, ("id", "email", "name", "sessions")))


@users.command()
@click.option("--id", "user_id", required=True, help="Id of the admin.")
@instance_options
def delete(user_id: str, data: Path | None, as_json: bool) -> None:
    """Delete an admin: their sessions end at once."""

    async def work(log: EventLog) -> None:
        rows = await log.database.rows(QUERIES["teams"], {"project": CONSOLE, "user": user_id})
        teams = [Team.absent(CONSOLE, row["team_id"]) for row in rows]
        await log.run(delete_user, User.key(CONSOLE, user_id), *teams, meta=actor())

    with_log(of_instance(data), work)
    answer({"id": user_id, "deleted": True}, as_json, lambda: f"deleted  {user_id}")


async def make_admin(log: EventLog, settings: Settings, *, email: str, password: str, name: str) -> str:
    """A new user of the console; their id. Raises UserAlreadyExists."""
    user_id = generate_id()
    passwords = Passwords(await Vault.of(log.database, settings.master_key))
    sealed = await passwords.seal(CONSOLE, user_id, password)
    await log.run(
        User.create,
        User.absent(CONSOLE, user_id),
        meta=actor(),
        project_id=CONSOLE,
        user_id=user_id,
        name=name,
        email=email,
        sealed_password=sealed,
    )
    return user_id


def fitting(kind: Email | Password, value: str) -> str:
    """The value as its kind takes it. Raises a ClickException that says what is wrong."""
    try:
        return kind.parse(value)
    except ValidationError as invalid:
        raise click.ClickException(str(invalid)) from None


class Admin(msgspec.Struct, frozen=True):
    """The content of `admin.json`, the only copy of the password."""

    email: str
    password: str


async def first_admin(settings: Settings, event_log: EventLog) -> None:
    """Create the admin that the settings name if there is none. Raises Invalid for an invalid address."""
    if not settings.admin_email:
        return
    try:
        email = Email().parse(settings.admin_email)
    except ValidationError:
        raise Invalid(f"ANNALS_ADMIN_EMAIL is {settings.admin_email!r}, which is no email address.") from None
    password = secrets.token_urlsafe(18)
    try:
        await make_admin(event_log, settings, email=email, password=password, name="")
    except UserAlreadyExists:
        return
    path = settings.folder / FILE
    private_file(path, msgspec.json.format(msgspec.json.encode(Admin(email, password)), indent=2) + b"\n")
    log.info("admin_made", email=email, file=str(path))
