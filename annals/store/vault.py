"""Secrets: sealed with a data key of their project, which the instance's master key wraps (AES-256-GCM throughout).

Events only ever hold sealed values. Wrapped data keys live in a table outside the log: once a project's key is deleted,
what it sealed is unreadable for good, in the log and in every export.
"""

import base64
import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from annals.store import sql
from annals.store.database import Database
from annals.store.errors import DataKeyDeleted, MasterKeyWrong, SealBroken
from annals.store.masters import MasterKeys

QUERIES = sql.load(__package__, "vault.sql")

FRESH_SECONDS = 5.0
"""How long a cached data key seals before the table is asked whether it is still the project's."""

_MISSING = (
    "There is no master key at {path}, and this database's data keys were wrapped with one. Put that file back there,"
    " or name it with ANNALS_MASTER_KEY_FILE."
)
_VERSION = "v1"
_NONCE = 12


class _DataKey(NamedTuple):
    key_id: str
    key: bytes
    checked: float


def master_key(path: Path, *, used: bool = False) -> MasterKeys:
    """Read the master key, or make it when the file is missing: 32 bytes in base64, mode 0600, one winner of a race.

    Raises MasterKeyWrong for a file that holds something else, and for none where one was `used` before; OSError when
    it cannot be read or made.
    """
    if used and not path.exists():
        raise MasterKeyWrong(_MISSING.format(path=path))
    return MasterKeys(path)


class Vault:
    """Seals and opens; safe for several processes on one database with one master key."""

    def __init__(self, database: Database, masters: MasterKeys) -> None:
        self._database, self._masters = database, masters
        self._keys: dict[str, _DataKey] = {}

    @classmethod
    async def of(cls, database: Database, path: Path) -> Self:
        """That of a migrated database and its master key, which is made for a database that never had one.

        Raises MasterKeyWrong for another key, and for none where data keys were wrapped with one; OSError.
        """
        used = bool(await database.rows(QUERIES["some"]))
        vault = cls(database, master_key(path, used=used))
        await vault.prove()
        return vault

    async def prove(self) -> None:
        """See before anything is served that this master key is the database's. Raises MasterKeyWrong."""
        for row in await self._database.rows(QUERIES["some"]):
            self._masters.unwrap(row["project"], row["key_id"], bytes(row["wrapped"]))

    async def rewrap(self) -> int:
        """Bring every data key under the newest master key; how many were under another. Raises MasterKeyWrong."""
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
        """Seal a value for one place: only `open` with the same project, owner and name gives it back.

        Raises MasterKeyWrong, StoreUnavailable.
        """
        data_key = await self._key_for_sealing(project)
        seal_id, nonce = secrets.token_hex(16), secrets.token_bytes(_NONCE)
        bound = _bound(project, owner, name, data_key.key_id, seal_id)
        sealed = AESGCM(data_key.key).encrypt(nonce, plaintext.encode(), bound)
        return ".".join([_VERSION, data_key.key_id, seal_id, base64.urlsafe_b64encode(nonce + sealed).decode()])

    async def open(self, project: str, owner: str, name: str, sealed: str) -> str:
        """The plaintext of a sealed value.

        Raises SealBroken when it was altered or sealed for another place, DataKeyDeleted when its key is gone,
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
        """A keyed digest that tells equal values of a project apart from others, and nothing to who lacks the key."""
        data_key = await self._key_for_sealing(project)
        derived = hmac.digest(data_key.key, b"annals fingerprint", hashlib.sha256)
        return hmac.digest(derived, plaintext.encode(), hashlib.sha256).hex()[:32]

    async def derive(self, project: str, purpose: str) -> bytes:
        """A secret of the project for one purpose, the same in every process: 32 bytes that tell nothing of its key."""
        data_key = await self._key_for_sealing(project)
        return hmac.digest(data_key.key, b"annals derive " + purpose.encode(), hashlib.sha256)

    async def delete_key(self, project: str) -> None:
        """Make everything a project sealed unreadable for good."""
        self._keys.pop(project, None)
        await self._database.execute(QUERIES["delete"], {"project": project})

    async def _key_for_sealing(self, project: str) -> _DataKey:
        cached = self._keys.get(project)
        if cached is not None and time.monotonic() - cached.checked < FRESH_SECONDS:
            return cached
        found = await self._stored_key(project)
        if found is None:
            key_id = secrets.token_hex(8)
            self._masters.refresh()
            wrapped = self._masters.wrap(project, key_id, secrets.token_bytes(32))
            row = {"project": project, "key_id": key_id, "wrapped": wrapped}
            await self._database.execute(QUERIES["add"], row)
            if self._masters.refresh():  # a rotation began meanwhile, and may have passed this one by
                await self._renewed(project, key_id, wrapped)
            found = await self._stored_key(project)  # another process's, when it was first
        if found is None:
            raise DataKeyDeleted
        return found

    async def _key_for_opening(self, project: str, key_id: str) -> _DataKey:
        cached = self._keys.get(project)
        if cached is None or cached.key_id != key_id:
            cached = await self._stored_key(project)
        if cached is None or cached.key_id != key_id:
            raise DataKeyDeleted
        return cached

    async def _stored_key(self, project: str) -> _DataKey | None:
        row = await self._database.row(QUERIES["find"], {"project": project})
        if row is None:
            self._keys.pop(project, None)
            return None
        key_id, wrapped = row["key_id"], bytes(row["wrapped"])
        key = self._masters.unwrap(project, key_id, wrapped)
        self._keys[project] = _DataKey(key_id, key, time.monotonic())
        return self._keys[project]


def _bound(*parts: str) -> bytes:
    """Parts so joined that no other parts give the same bytes."""
    return b"annals seal" + b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in parts)
