"""Output files of commands: complete or absent; an existing file is replaced only with --force."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

output_option = click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write. The default name says what the file holds.",
)
force_option = click.option("--force", is_flag=True, help="Replace a file that exists.")


class OutputExists(OSError):
    """The output file exists, and the caller did not force its replacement."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists, and nothing was written. Name another file, or replace it with --force.")


def require_absent(path: Path, *, force: bool) -> None:
    """Raise OutputExists before the work begins."""
    if not force and os.path.lexists(path):
        raise OutputExists(path)


@contextlib.contextmanager
def output_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Open a draft beside `path`; on success make it durable and move it into place in one step, mode 0600.

    An error within the block leaves no file, and an existing file as it was. Raises OutputExists, OSError.
    """
    require_absent(path, force=force)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _move(draft, path, force=force)
        _sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _move(draft: Path, path: Path, *, force: bool) -> None:
    """Rename; unless forced, a file that appeared in the meantime wins."""
    if force:
        draft.replace(path)
        return
    try:
        path.hardlink_to(draft)  # a rename would replace
    except FileExistsError:
        raise OutputExists(path) from None
    except OSError:  # a file system without hard links
        require_absent(path, force=False)
        draft.replace(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
