"""Signed notes: a checkpoint as text with Ed25519 signatures, in the format of transparency logs.

Text, an empty line, then lines `— <key's name> <base64 of the key's hash and the signature>` (C2SP signed-note). The
text of a checkpoint is the log's origin, its size, its root in base64 (C2SP tlog-checkpoint), and two lines of ours:
the position of its last event and the time of the signature.
"""

import base64
import binascii
import hashlib
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from annals.store.secrets.key_files import read_or_make

_ED25519 = b"\x01"
_PRIVATE = "PRIVATE+KEY"
_DASH = "\N{EM DASH} "


class NoteInvalid(Exception):
    """A note or a key is invalid; the message says why."""


class Checkpoint(NamedTuple):
    """The signed statement: the first `size` events have this root, and the last of them is at `position`."""

    origin: str
    size: int
    root: bytes
    position: int
    signed_at: datetime

    def text(self) -> str:
        root = base64.b64encode(self.root).decode()
        time = self.signed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{self.origin}\n{self.size}\n{root}\nposition {self.position}\ntime {time}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Raises NoteInvalid."""
        try:
            origin, size, root, position, time = text.removesuffix("\n").split("\n")
            return cls(
                origin,
                int(size),
                base64.b64decode(root, validate=True),
                int(position.removeprefix("position ")),
                datetime.strptime(time, "time %Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
            )
        except ValueError as error:
            raise NoteInvalid(f"This is no checkpoint: {error}") from error


class Verifier:
    """A public key under its name."""

    def __init__(self, name: str, public: bytes) -> None:
        self.name, self._public = name, public
        self._key = Ed25519PublicKey.from_public_bytes(public)
        self.hash = key_hash(name, public)

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """From `<name>+<hash in hex>+<base64>`. Raises NoteInvalid."""
        name, _, rest = text.strip().partition("+")
        short, _, encoded = rest.partition("+")
        key = _decode(encoded)
        if len(key) != 33 or key[:1] != _ED25519:
            raise NoteInvalid("This is no Ed25519 verifier key")
        found = cls(name, key[1:])
        if found.hash.hex() != short:
            raise NoteInvalid("The verifier key's hash does not fit it")
        return found

    def __str__(self) -> str:
        return f"{self.name}+{self.hash.hex()}+{base64.b64encode(_ED25519 + self._public).decode()}"

    def claims(self, note: str) -> bool:
        """Return whether a note claims to be of this key's log, signed or not: logs may share a destination."""
        return note.startswith(f"{self.name}\n")

    def open(self, note: str) -> Checkpoint:
        """Return the checkpoint of a note that this key signed; skip other signatures. Raises NoteInvalid."""
        text, divider, lines = note.rpartition("\n\n")
        if not divider or not lines.endswith("\n"):
            raise NoteInvalid("This is no signed note")
        signed = f"{text}\n"
        for line in lines.splitlines():
            name, _, encoded = line.removeprefix(_DASH).partition(" ")
            signature = _decode(encoded)
            if line.startswith(_DASH) and name == self.name and signature[:4] == self.hash:
                try:
                    self._key.verify(signature[4:], signed.encode())
                except InvalidSignature as error:
                    raise NoteInvalid("The signature does not fit the text") from error
                return Checkpoint.parse(signed)
        raise NoteInvalid(f"The note is not signed by {self.name}")


class Signer:
    """The private key of one log."""

    def __init__(self, name: str, seed: bytes) -> None:
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint) -> str:
        text = checkpoint.text()
        signature = base64.b64encode(self.verifier.hash + self._key.sign(text.encode())).decode()
        return f"{text}\n{_DASH}{self.name} {signature}\n"


def signing_key(path: Path) -> Signer:
    """Read the log's signing key, or make it with a new name if the file is missing (mode 0600).

    Raises NoteInvalid for a file that holds no key, OSError if it cannot be read or made.
    """
    return _parse_private(read_or_make(path, _new_key).decode("utf-8", "replace").strip(), path)


def existing_key(path: Path) -> Signer:
    """Read the log's signing key, which must exist. Raises NoteInvalid."""
    try:
        return _parse_private(path.read_text("utf-8", "replace").strip(), path)
    except OSError as error:
        raise NoteInvalid(
            f"The log's key cannot be read: {error}. It is made at the first start; with --key a verifier key will do."
        ) from error


def text_of(note: str) -> str:
    """Return the text of a note, without checking its signatures."""
    return note.rpartition("\n\n")[0] + "\n"


def key_hash(name: str, public: bytes) -> bytes:
    """Return the four bytes that tell a key's signatures from others."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def _new_key() -> bytes:
    name, seed = f"annals/{secrets.token_hex(8)}", secrets.token_bytes(32)
    short = Signer(name, seed).verifier.hash.hex()
    return f"{_PRIVATE}+{name}+{short}+{base64.b64encode(_ED25519 + seed).decode()}\n".encode()


def _parse_private(text: str, path: Path) -> Signer:
    """Return the key of a text in the format of Go's `note` package."""
    parts = text.removeprefix(f"{_PRIVATE}+").split("+", 2)
    if not text.startswith(f"{_PRIVATE}+") or len(parts) != 3:
        raise NoteInvalid(f"{path} does not hold a signing key")
    key = _decode(parts[2])
    if len(key) != 33 or key[:1] != _ED25519:
        raise NoteInvalid(f"{path} does not hold an Ed25519 signing key")
    signer = Signer(parts[0], key[1:])
    if signer.verifier.hash.hex() != parts[1]:
        raise NoteInvalid(f"The hash in {path} does not fit its key")
    return signer


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteInvalid("This is not base64") from error
