"""Key files: made once, by whichever process is first, and readable by their owner alone."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def kept_or_made(path: Path, make: Callable[[], bytes]) -> bytes:
    """What a file holds, or what `make` gives when it is missing: durable, mode 0600, one winner of a race.

    Raises OSError when it cannot be read or made.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _drafted(path, make())
    try:
        with contextlib.suppress(FileExistsError):  # another process made it first: its key counts
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    _durable(path.parent)
    return path.read_bytes()


def replaced(path: Path, text: bytes) -> None:
    """Put a text in a file's place, at once and durably: who reads it sees all of the former or all of this one."""
    _drafted(path, text).replace(path)
    _durable(path.parent)


def _drafted(path: Path, text: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
