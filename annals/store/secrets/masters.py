"""The master keys of a file, newest first: the first one wraps, the others open what they wrapped before a rotation.

The file is looked at again whenever a key does not fit, so that processes that run go on through a rotation.
"""

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from annals.store.errors import MasterKeyWrong
from annals.store.secrets.keyfile import kept_or_made, replaced

_NONCE = 12
_BYTES = 32


class MasterKeys:
    """Wraps and unwraps data keys. Raises MasterKeyWrong for a file that holds something else, OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._texts: list[bytes] = []
        self._ciphers: list[AESGCM] = []
        self.refresh(kept_or_made(path, lambda: _new() + b"\n"))

    def __len__(self) -> int:
        return len(self._ciphers)

    def refresh(self, text: bytes = b"") -> bool:
        """Read the file again, unless its text is given; whether it holds other keys than before."""
        texts = (text or self.path.read_bytes()).split()
        if not texts:
            raise MasterKeyWrong(f"{self.path} does not hold a master key: it is empty")
        if texts == self._texts:
            return False
        self._ciphers = [AESGCM(_parsed(one, self.path)) for one in texts]
        self._texts = texts
        return True

    def wrap(self, project: str, key_id: str, key: bytes) -> bytes:
        """A data key under the first master key."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, key, _wrapping(project, key_id))

    def unwrap(self, project: str, key_id: str, wrapped: bytes) -> bytes:
        """The data key. Raises MasterKeyWrong when none of the file's keys opens it."""
        for key in self._opened(project, key_id, wrapped):
            return key
        if self.refresh():
            for key in self._opened(project, key_id, wrapped):
                return key
        raise MasterKeyWrong(f"{MasterKeyWrong.default} What was tried is {self.path}.")

    def is_current(self, project: str, key_id: str, wrapped: bytes) -> bool:
        """Whether the first master key wrapped it."""
        return any(True for _ in self._opened(project, key_id, wrapped, most=1))

    def _opened(self, project: str, key_id: str, wrapped: bytes, *, most: int | None = None) -> Iterator[bytes]:
        for cipher in self._ciphers[:most]:
            try:
                yield cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _wrapping(project, key_id))
            except InvalidTag:
                continue

    def add(self) -> None:
        """Put a new key in front of the others, in the file and here."""
        replaced(self.path, b"\n".join([_new(), *self._texts]) + b"\n")
        self.refresh()

    def retire(self) -> Path:
        """Leave the first key alone in the file; where the others lie now, for backups that were made under them."""
        former = self.path.with_name(f"{self.path.name}.former")
        kept = former.read_bytes().split() if former.exists() else []
        replaced(former, b"\n".join([*self._texts[1:], *kept]) + b"\n")
        replaced(self.path, self._texts[0] + b"\n")
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
