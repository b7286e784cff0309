"""`annals env`: prints the address and key of the running instance as shell variables."""

import shlex
from pathlib import Path

import click

from annals.cli.options import answer, instance_options, of_instance
from annals.supervisor.services import read_key


@click.command()
@instance_options
def env(data: Path | None, as_json: bool) -> None:
    """Print endpoint, project, key, data folder and database of an instance for `eval "$(annals env)"`."""
    settings = of_instance(data)
    try:
        first_key = read_key(settings.folder)
    except OSError:
        raise click.ClickException(
            f"{settings.folder} holds no key.json, as after a restore. Make a key with `annals keys create` instead."
        ) from None
    values = {
        "APPWRITE_ENDPOINT": settings.endpoint,
        "APPWRITE_PROJECT_ID": first_key.project,
        "APPWRITE_API_KEY": first_key.key,
        "ANNALS_DATA": str(settings.folder),
        "DATABASE_URL": settings.database_url,  # with ANNALS_DATABASE_URL, the next `annals up` would use this database
    }
    answer(values, as_json, lambda: "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()))
