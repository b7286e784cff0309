"""Key files: made by the first process that needs them, and readable by their owner alone."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def read_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the bytes of a file; if it is missing, write those of `make`, durably and with mode 0600.

    Of several processes that make the file the first one wins. Raises OSError if it cannot be read or made.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _write_draft(path, make())
    try:
        with contextlib.suppress(FileExistsError):  # another process made it first: use its key
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    _sync_folder(path.parent)
    return path.read_bytes()


def replace(path: Path, text: bytes) -> None:
    """Replace a file's text durably and atomically: a reader sees the whole former text or the whole new one."""
    _write_draft(path, text).replace(path)
    _sync_folder(path.parent)


def _write_draft(path: Path, text: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
