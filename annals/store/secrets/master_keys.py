"""The master keys of a file, newest first: the first wraps, the others open data keys from before a rotation.

The file is read again whenever no key fits, so running processes go on through a rotation.
"""

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from annals.store.errors import MasterKeyWrong
from annals.store.secrets.key_files import read_or_make, replace

_NONCE = 12
_BYTES = 32


class MasterKeys:
    """Wraps and unwraps data keys. Raises MasterKeyWrong for a file that holds no key, and OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._texts: list[bytes] = []
        self._ciphers: list[AESGCM] = []
        self.refresh(read_or_make(path, lambda: _new() + b"\n"))

    def __len__(self) -> int:
        return len(self._ciphers)

    def refresh(self, text: bytes = b"") -> bool:
        """Take the keys of `text`, or of the file, and return whether they differ from the former ones."""
        texts = (text or self.path.read_bytes()).split()
        if not texts:
            raise MasterKeyWrong(f"{self.path} does not hold a master key: it is empty")
        if texts == self._texts:
            return False
        self._ciphers = [AESGCM(_parsed(one, self.path)) for one in texts]
        self._texts = texts
        return True

    def wrap(self, project: str, key_id: str, key: bytes) -> bytes:
        """Wrap a data key with the first master key."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, key, _wrapping(project, key_id))

    def unwrap(self, project: str, key_id: str, wrapped: bytes) -> bytes:
        """Unwrap a data key. Raises MasterKeyWrong if no key of the file opens it."""
        for key in self._opened(project, key_id, wrapped):
            return key
        if self.refresh():
            for key in self._opened(project, key_id, wrapped):
                return key
        raise MasterKeyWrong(f"{MasterKeyWrong.default} The keys of {self.path} were tried.")

    def is_current(self, project: str, key_id: str, wrapped: bytes) -> bool:
        """Return whether the first master key wrapped a data key."""
        return any(True for _ in self._opened(project, key_id, wrapped, most=1))

    def _opened(self, project: str, key_id: str, wrapped: bytes, *, most: int | None = None) -> Iterator[bytes]:
        for cipher in self._ciphers[:most]:
            try:
                yield cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _wrapping(project, key_id))
            except InvalidTag:
                continue

    def add(self) -> None:
        """Put a new key before the others, in the file and in memory."""
        replace(self.path, b"\n".join([_new(), *self._texts]) + b"\n")
        self.refresh()

    def retire(self) -> Path:
        """Leave only the first key in the file. Return the file that has the others, for backups that need them."""
        former = self.path.with_name(f"{self.path.name}.former")
        retired = former.read_bytes().split() if former.exists() else []
        replace(former, b"\n".join([*self._texts[1:], *retired]) + b"\n")
        replace(self.path, self._texts[0] + b"\n")
        self.refresh()
        return former


def _new() -> bytes:
    return base64.b64encode(secrets.token_bytes(_BYTES))


def _parsed(text: bytes, path: os.PathLike[str]) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MasterKeyWrong(f"{path} does not hold a master key: {error}") from error
    if len(key) != _BYTES:
        raise MasterKeyWrong(f"{path} does not hold a master key: it has {len(key)} bytes instead of {_BYTES}")
    return key


def _wrapping(project: str, key_id: str) -> bytes:
    return b"annals data key %b %b" % (key_id.encode(), project.encode())
