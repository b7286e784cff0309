"""The passphrase of a keys file: from a file, the environment or the terminal, never from the command line.

Every user of the machine can read command lines, and the shell's history stores them.
"""

import os
from pathlib import Path

import click

from annals.store.portable.keys import LEAST_PASSPHRASE

VARIABLE = "KEYS_PASSPHRASE"
"""Not a setting: it belongs to one command, and settings are printed."""

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"File with the passphrase of --with-keys; without it, {VARIABLE} or a prompt.",
)


def passphrase(file: Path | None, *, new: bool) -> str:
    """Return the passphrase; the prompt for a `new` one asks twice. Raises click.ClickException if it is too short."""
    try:
        given = file.read_text().rstrip("\r\n") if file is not None else os.environ.get(VARIABLE, "")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"The passphrase cannot be read from {file}: {error}") from None
    if not given and file is None:
        given = click.prompt("Passphrase of the keys file", hide_input=True, confirmation_prompt=new)
    if new and len(given) < LEAST_PASSPHRASE:
        raise click.ClickException(f"The passphrase needs {LEAST_PASSPHRASE} characters or more.")
    return str(given)
