"""Options, settings and answers that commands share."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from annals.settings import Invalid, Settings, read
from annals.supervisor.folders import Folders

ANSWER_SECONDS = 5.0
"""How long a service may take to answer a command's questions; a slower one counts as hanging."""

json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for scripts.")
data_option = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Data folder of a running instance."
)

FC = TypeVar("FC", bound=Callable[..., Any] | click.Command)


def instance_options(command: FC) -> FC:
    """Add the options that commands on an instance share: its data folder, and an answer in JSON."""
    return data_option(json_option(command))


def chosen(**options: object) -> Settings:
    """Read the settings; options override the environment. Raises a ClickException that names the setting."""
    try:
        return read(None, **options)
    except Invalid as error:
        raise click.ClickException(str(error)) from None


def of_instance(data: Path | None) -> Settings:
    """Return the settings of the instance that runs on a data folder; without one, those of the environment.

    Raises a ClickException if neither names a database.
    """
    settings = chosen(data=data)
    folders = Folders(settings.folder)
    running = folders.running()
    if running is not None:
        return read(running.settings)
    if not settings.database_url:
        raise click.ClickException(absent(folders, "name its folder with --data, or set ANNALS_DATABASE_URL"))
    return settings


def absent(folders: Folders, otherwise: str) -> str:
    """Return why no instance answers on a data folder; `otherwise` names the alternative to starting one."""
    if folders.locked():
        return f"The instance on {folders.data} is starting or ending. Wait until it says that it is ready."
    return f"No instance runs on {folders.data}. Start one with `annals up`, {otherwise}."


def answer(content: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print an answer as one line of JSON, or as text."""
    click.echo(msgspec.json.encode(content).decode() if as_json else text())


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Return rows as text, aligned below their headings."""
    cells = [[column.upper() for column in columns], *([str(row.get(c, "")) for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in cells)
