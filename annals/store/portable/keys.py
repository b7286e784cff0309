"""The keys file of an export: its data keys, encrypted with a passphrase (argon2id, AES-256-GCM).

The file has the costs of its key derivation, so that they can grow, and the checkpoint of its export.
"""

import secrets
from collections.abc import Sequence

import msgspec
from argon2.exceptions import Argon2Error
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from annals.domain.decoding import UNREADABLE
from annals.store.errors import StoreError
from annals.store.proof.notes import Checkpoint

FORM = 1
LEAST_PASSPHRASE = 12
"""The shortest passphrase: an owner of the file may try any number of them."""

PASSES, MEMORY_KIB, PARALLELISM = 3, 256 * 1024, 4
"""The cost of one attempt: four times the memory that RFC 9106 recommends for machines with little memory."""

MOST_BYTES = 64 * 1024 * 1024
_MOST_MEMORY_KIB, _MOST_PASSES, _MOST_PARALLELISM = 4 * 1024 * 1024, 64, 64
_KEY, _SALT, _NONCE = 32, 16, 12
_PURPOSE = b"annals export keys "


class KeysFileInvalid(StoreError):
    """A keys file cannot be opened; the message says why."""


class PlainKey(msgspec.Struct, frozen=True, kw_only=True):
    """A project's data key, unencrypted."""

    project: str
    key_id: str
    key: bytes
    created_at: str


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of the key derivation, memory in KiB, and of the export. The encryption authenticates them."""

    form: int = FORM
    kdf: str = "argon2id"
    passes: int
    memory: int
    parallelism: int = msgspec.field(name="lanes")
    salt: bytes
    root: bytes
    size: int
    project: str


class _File(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="export_keys"):
    header: _Header
    nonce: bytes
    sealed: bytes


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_File).decode
_decode_keys = msgspec.json.Decoder(list[PlainKey]).decode


def encrypt_keys(keys: Sequence[PlainKey], passphrase: str, checkpoint: Checkpoint, project: str) -> bytes:
    """Return the keys file of an export of a project (empty: all) that ends with a checkpoint."""
    header = _Header(
        passes=PASSES,
        memory=MEMORY_KIB,
        parallelism=PARALLELISM,
        salt=secrets.token_bytes(_SALT),
        root=checkpoint.root,
        size=checkpoint.size,
        project=project,
    )
    nonce = secrets.token_bytes(_NONCE)
    sealed = _cipher(header, passphrase).encrypt(nonce, _encode(keys), _authenticated(header))
    return _encode(_File(header=header, nonce=nonce, sealed=sealed)) + b"\n"


def decrypt_keys(content: bytes, passphrase: str, checkpoint: Checkpoint, project: str) -> list[PlainKey]:
    """Return the keys of the keys file of an export that ends with a checkpoint. Raises KeysFileInvalid."""
    try:
        file = _decode(content)
    except UNREADABLE:
        raise KeysFileInvalid("The file of --with-keys is none that `annals export --with-keys` wrote.") from None
    header = file.header
    if header.form != FORM or header.kdf != "argon2id":
        raise KeysFileInvalid(f"The keys file has form {header.form} ({header.kdf}), which this version cannot read.")
    if header.memory > _MOST_MEMORY_KIB or header.passes > _MOST_PASSES or header.parallelism > _MOST_PARALLELISM:
        raise KeysFileInvalid("The keys file asks for more memory or time than any that `annals export` writes.")
    try:
        opened = _cipher(header, passphrase).decrypt(file.nonce, file.sealed, _authenticated(header))
        keys = _decode_keys(opened)
    except InvalidTag:
        raise KeysFileInvalid("The passphrase does not open the keys file, or the file was changed.") from None
    except (Argon2Error, *UNREADABLE) as error:
        raise KeysFileInvalid(f"The keys file is damaged: {error}") from None
    if (header.root, header.size, header.project) != (checkpoint.root, checkpoint.size, project):
        raise KeysFileInvalid("The keys file belongs to another export. Use the one that was written with this export.")
    return keys


def _cipher(header: _Header, passphrase: str) -> AESGCM:
    key = hash_secret_raw(
        passphrase.encode(),
        header.salt,
        time_cost=header.passes,
        memory_cost=header.memory,
        parallelism=header.parallelism,
        hash_len=_KEY,
        type=Type.ID,
    )
    return AESGCM(key)


def _authenticated(header: _Header) -> bytes:
    return _PURPOSE + _encode(header)
