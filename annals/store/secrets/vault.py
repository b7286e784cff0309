"""Secrets: sealed with a data key of their project, which the instance's master key wraps (AES-256-GCM throughout).

Events hold only sealed values. Wrapped data keys are in a table outside the log: after a project's key is deleted, the
values that it sealed are unreadable for good, in the log and in every export. How processes learn of a deletion, and
why no value of a deleted key is recorded: docs/adr/0038-data-key-lifetime.md.
One file because sealing, the cache of data keys and their deletion follow the same rules.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from annals.store.errors import DataKeyDeleted, MasterKeyWrong, SealBroken
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.store.postgres.listener import ALL, Listener
from annals.store.secrets.master_keys import MasterKeys

QUERIES = sql.load(__package__, "vault.sql")

FRESH_SECONDS = 5.0
"""How long a cached data key is used before a request or the table must confirm it."""

CHANNEL = "annals_data_keys"
"""The channel that the deletion of a data key notifies at its commit, by project."""

MOST_KEYS = 10_000
"""The number of data keys that a process caches; the oldest goes first."""

OF_INSTANCE = frozenset({"", "console"})
"""Owners of a data key besides projects: the instance itself, and the console's users."""

_SILENCE_SECONDS = 60.0

_MISSING = (
    "There is no master key at {path}, and this database's data keys were wrapped with one. Put that file back there,"
    " or name it with ANNALS_MASTER_KEY_FILE."
)
_VERSION = "v1"
_NONCE = 12


class _DataKey:
    """A data key in memory; `checked` is when it was last confirmed as the project's."""

    __slots__ = ("checked", "key", "key_id")

    def __init__(self, key_id: str, key: bytes) -> None:
        self.key_id, self.key, self.checked = key_id, key, time.monotonic()


def master_key(path: Path, *, used: bool = False) -> MasterKeys:
    """Read the master key, or make it if the file is missing: 32 bytes in base64, mode 0600.

    Raises MasterKeyWrong for a file that holds no key, and for a missing file if a key was `used` before. Raises
    OSError if the file cannot be read or made.
    """
    if used and not path.exists():
        raise MasterKeyWrong(_MISSING.format(path=path))
    return MasterKeys(path)


class Vault:
    """Seals and opens values. Several processes may use one database with one master key."""

    def __init__(self, database: Database, masters: MasterKeys) -> None:
        self._database, self._masters = database, masters
        self._keys: dict[str, _DataKey] = {}
        self._loading: dict[str, str | None] = {}
        """The confirmed key of each project whose row is being read: None until a key is confirmed meanwhile."""

    @classmethod
    async def of(cls, database: Database, path: Path) -> Self:
        """Return the vault of a migrated database. The master key is made if the database never had one.

        Raises MasterKeyWrong for a wrong key, and for a missing key if data keys were wrapped with one; OSError.
        """
        used = bool(await database.rows(QUERIES["some"]))
        vault = cls(database, master_key(path, used=used))
        await vault.prove()
        return vault

    async def prove(self) -> None:
        """Check that the master key opens the database's data keys. Raises MasterKeyWrong."""
        for row in await self._database.rows(QUERIES["some"]):
            self._masters.unwrap(row["project"], row["key_id"], bytes(row["wrapped"]))

    async def rewrap(self) -> int:
        """Wrap every data key with the newest master key and return how many changed. Raises MasterKeyWrong."""
        changed = 0
        for row in await self._database.rows(QUERIES["all"]):
            changed += await self._renewed(row["project"], row["key_id"], bytes(row["wrapped"]))
        return changed

    async def _renewed(self, project: str, key_id: str, wrapped: bytes) -> bool:
        if self._masters.is_current(project, key_id, wrapped):
            return False
        again = self._masters.wrap(project, key_id, self._masters.unwrap(project, key_id, wrapped))
        await self._database.execute(QUERIES["rewrap"], {"project": project, "former": wrapped, "wrapped": again})
        return True

    async def seal(self, project: str, owner: str, name: str, plaintext: str) -> str:
        """Seal a value for one use: only `open` with the same project, owner and name returns it.

        Raises MasterKeyWrong, StoreUnavailable.
        """
        data_key = await self._key_for_sealing(project)
        seal_id, nonce = secrets.token_hex(16), secrets.token_bytes(_NONCE)
        bound = _bound(project, owner, name, data_key.key_id, seal_id)
        sealed = AESGCM(data_key.key).encrypt(nonce, plaintext.encode(), bound)
        return ".".join([_VERSION, data_key.key_id, seal_id, base64.urlsafe_b64encode(nonce + sealed).decode()])

    async def open(self, project: str, owner: str, name: str, sealed: str) -> str:
        """Return the plaintext of a sealed value.

        Raises SealBroken if it was altered or sealed for another use, DataKeyDeleted if its key was deleted,
        MasterKeyWrong, StoreUnavailable.
        """
        version, _, rest = sealed.partition(".")
        key_id, _, rest = rest.partition(".")
        seal_id, _, body = rest.partition(".")
        if version != _VERSION:
            raise SealBroken
        data_key = await self._key_for_opening(project, key_id)
        try:
            raw = base64.b64decode(body, altchars=b"-_", validate=True)
            bound = _bound(project, owner, name, key_id, seal_id)
            return AESGCM(data_key.key).decrypt(raw[:_NONCE], raw[_NONCE:], bound).decode()
        except (InvalidTag, ValueError) as error:
            raise SealBroken from error

    async def fingerprint(self, project: str, plaintext: str) -> str:
        """Return a keyed digest: equal for equal values of a project, and useless without the project's key."""
        data_key = await self._key_for_sealing(project)
        derived = hmac.digest(data_key.key, b"annals fingerprint", hashlib.sha256)
        return hmac.digest(derived, plaintext.encode(), hashlib.sha256).hex()[:32]

    async def derive(self, project: str, purpose: str) -> bytes:
        """Return a project's secret for one purpose, the same in every process: 32 bytes that do not reveal its key."""
        data_key = await self._key_for_sealing(project)
        return hmac.digest(data_key.key, b"annals derive " + purpose.encode(), hashlib.sha256)

    def confirm(self, project: str, key_id: str | None) -> None:
        """Note a project's key id (None: no key) from a row that was just read; another cached key is dropped."""
        if project in self._loading:
            self._loading[project] = key_id or ""
        cached = self._keys.get(project)
        if cached is None:
            return
        if cached.key_id == key_id:
            cached.checked = time.monotonic()
        else:
            del self._keys[project]

    def forget(self, project: str | None) -> None:
        """Drop a project's key from memory, or all keys with None. The next use reads the table."""
        if project is None:
            self._keys.clear()
            self._loading = dict.fromkeys(self._loading, "")
        else:
            self.confirm(project, None)

    async def _key_for_sealing(self, project: str) -> _DataKey:
        """Return a project's key, and make its first one. Raises DataKeyDeleted for a deleted project."""
        found = self._cached(project) or await self._stored_key(project)
        if found is None:
            await self._add_key(project)
            found = await self._stored_key(project)  # of another process, if that was first
        if found is None:
            raise DataKeyDeleted
        return found

    async def _add_key(self, project: str) -> None:
        key_id = secrets.token_hex(8)
        self._masters.refresh()
        wrapped = self._masters.wrap(project, key_id, secrets.token_bytes(32))
        row = {"project": project, "key_id": key_id, "wrapped": wrapped, "of_instance": project in OF_INSTANCE}
        await self._database.execute(QUERIES["add"], row)
        if self._masters.refresh():  # a rotation began meanwhile and may have missed this key
            await self._renewed(project, key_id, wrapped)

    async def _key_for_opening(self, project: str, key_id: str) -> _DataKey:
        cached = self._cached(project)
        if cached is None or cached.key_id != key_id:
            cached = await self._stored_key(project)
        if cached is None or cached.key_id != key_id:
            raise DataKeyDeleted
        return cached

    def _cached(self, project: str) -> _DataKey | None:
        cached = self._keys.get(project)
        return cached if cached is not None and time.monotonic() - cached.checked < FRESH_SECONDS else None

    async def _stored_key(self, project: str) -> _DataKey | None:
        """Return the key of the table. It is cached unless another key, or none, was confirmed meanwhile."""
        self._loading.setdefault(project, None)
        try:
            row = await self._database.row(QUERIES["find"], {"project": project})
        finally:
            confirmed = self._loading.pop(project, "")
        if row is None:
            self._keys.pop(project, None)
            return None
        key_id, wrapped = row["key_id"], bytes(row["wrapped"])
        found = _DataKey(key_id, self._masters.unwrap(project, key_id, wrapped))
        if confirmed is None or confirmed == key_id:
            self._keys.pop(project, None)
            if len(self._keys) >= MOST_KEYS:
                del self._keys[next(iter(self._keys))]
            self._keys[project] = found
        return found


class DataKeyCache(Protocol):
    """A cache of data keys, or of values that they opened."""

    def forget(self, project: str | None) -> None:
        """Drop the entries of a project, or all entries with None."""


@asynccontextmanager
async def forgetting_deleted_keys(database: Database, *caches: DataKeyCache) -> AsyncIterator[None]:
    """Let caches forget each project whose data key is deleted, and all projects after the connection broke."""
    async with Listener.open(database, CHANNEL) as listener:
        task = asyncio.create_task(_forget_deleted(listener, caches), name="key-deletions")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _forget_deleted(listener: Listener, caches: tuple[DataKeyCache, ...]) -> None:
    count = 0
    while True:
        count = await listener.wait(count, _SILENCE_SECONDS)
        projects = listener.fresh()
        for cache in caches:
            if ALL in projects:
                cache.forget(None)
            else:
                for project in projects:
                    cache.forget(project)


def key_of(sealed: str) -> str:
    """Return the id of the key that sealed a value, empty for a value that is not sealed."""
    return sealed.split(".", 2)[1] if sealed.count(".") >= 2 else ""


def _bound(*parts: str) -> bytes:
    """Join parts unambiguously."""
    return b"annals seal" + b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in parts)
