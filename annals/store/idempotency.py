"""Idempotency keys: of equal requests one is carried out, and the others get its answer, for a day.

The id of what a request creates is reserved with its key. So a request that broke off in the middle (its process died,
the commit's answer was lost) is taken over by its repeat, which finds what was created, or creates it under that id.
"""

import base64
from typing import NamedTuple

import msgspec

from annals.store import sql
from annals.store.contents import Content, Contents
from annals.store.database import Database
from annals.store.errors import ContentMissing
from annals.store.vault import Vault

QUERIES = sql.load(__package__, "idempotency.sql")

KEPT_SECONDS = 24 * 60 * 60
KIND = "answer"
_VERSION = 1
_LIMIT = 500


class Asked(NamedTuple):
    """A request that carries a key: whose it is, and the fingerprint of what it asks for."""

    project: str
    caller: str
    key: str
    fingerprint: str


class Reserved(NamedTuple):
    """The request is this process's to carry out; `again` says that it may have been carried out already."""

    resource_id: str
    again: bool


class Remembered(msgspec.Struct, frozen=True):
    """An answer as it was given."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class KeyReused(Exception):
    """The key belongs to another request."""


class Idempotency:
    """Keys and answers of all processes on one database; a `holder` is a process's lease."""

    def __init__(self, database: Database, contents: Contents, vault: Vault) -> None:
        self._database, self._contents, self._vault = database, contents, vault

    async def reserve(self, asked: Asked, holder: str, own_id: str) -> Reserved | Remembered | None:
        """Begin a request that creates `own_id`, or get the answer of its like; None while another is at it.

        Raises KeyReused, and what opening a sealed answer raises.
        """
        while True:
            row = await self._database.row(
                QUERIES["reserve"],
                {**asked._asdict(), "resource_id": own_id, "holder": holder, "seconds": KEPT_SECONDS},
            )
            if row is not None:
                return Reserved(row["resource_id"], again=row["resource_id"] != own_id)
            known = await self._database.row(QUERIES["find"], {**asked._asdict(), "seconds": KEPT_SECONDS})
            if known is None:
                continue
            if known["over"]:
                await self.forget_old()
                continue
            if known["fingerprint"] != asked.fingerprint:
                raise KeyReused
            return await self._answer(asked, known["resource_id"]) if known["answered"] else None

    async def remember(self, asked: Asked, reserved: Reserved, answer: Remembered) -> None:
        """Keep the answer, sealed, for those who ask again."""
        stream = _stream(asked.project, reserved.resource_id)
        packed = base64.b64encode(msgspec.msgpack.encode(answer)).decode("ascii")
        sealed = await self._vault.seal(asked.project, stream, KIND, packed)
        await self._contents.put(Content(stream, KIND, sealed.encode("ascii")), _VERSION)
        await self._change("answered", asked, reserved)

    async def let_go(self, asked: Asked, reserved: Reserved) -> None:
        """It is not known how the request ended: whoever repeats it takes it over."""
        await self._change("let_go", asked, reserved)

    async def give_back(self, asked: Asked, reserved: Reserved) -> None:
        """The request was refused: it may be sent again, changed or not."""
        await self._change("give_back", asked, reserved)

    async def forget_old(self) -> int:
        """Remove keys and answers whose day is over, and return how many."""
        gone = 0
        while rows := await self._database.rows(QUERIES["over"], {"seconds": KEPT_SECONDS, "limit": _LIMIT}):
            await self._contents.drop([_stream(row["project_id"], row["resource_id"]) for row in rows])
            gone += len(rows)
        return gone

    async def _answer(self, asked: Asked, resource_id: str) -> Remembered | None:
        stream = _stream(asked.project, resource_id)
        try:
            sealed = await self._contents.read(stream, KIND, version=_VERSION)
        except ContentMissing:
            return None
        packed = await self._vault.open(asked.project, stream, KIND, sealed.decode("ascii"))
        return msgspec.msgpack.decode(base64.b64decode(packed), type=Remembered)

    async def _change(self, query: str, asked: Asked, reserved: Reserved) -> None:
        await self._database.execute(QUERIES[query], {**asked._asdict(), "resource_id": reserved.resource_id})


def _stream(project: str, resource_id: str) -> str:
    return f"idempotency:{project}:{resource_id}"
