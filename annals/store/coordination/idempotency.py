"""Idempotency keys: of equal requests one is carried out, and the others get its answer, for a day.

The id of what a request creates is reserved with its key. So a request that broke off in the middle (its process died,
the commit's answer was lost) is taken over by its repeat, which finds what was created, or creates it under that id.
Whose a key is, and how it gets free while Postgres is away: docs/adr/0035-idempotency-key-ownership.md.

Keys and the bytes of their answers are bounded by an `Allowance`. Postgres counts them in the statements that take and
forget keys, so the bounds hold for all processes together and over restarts.
"""

import asyncio
import base64
import math
import zlib
from typing import NamedTuple

import msgspec
import psycopg
import structlog

from annals.store.content.contents import Content, Contents
from annals.store.errors import ContentMissing, StoreError
from annals.store.postgres import sql
from annals.store.postgres.database import Database, Row
from annals.store.secrets.vault import Vault

QUERIES = sql.load(__package__, "idempotency.sql")

KEPT_SECONDS = 24 * 60 * 60
KIND = "answer"
MOST_OWED = 10_000
"""Keys that a process will let go of once it can; one more is held until the process ends, but for its own requests."""

_VERSION = 1
_LIMIT = 500
_PAUSE = 0.5
_SHARDS = 8

log = structlog.get_logger(__name__)

Slot = tuple[str, str, str]
"""A key with whose it is."""


class Allowance(NamedTuple):
    """What callers of one kind, a `pool`, may hold of a project's keys at once; 0: no limit.

    A longer answer than `answer_bytes` is not kept: of its request only the id of what it created is known.
    """

    pool: str = "keys"
    keys: int = 0
    bytes: int = 0
    of_caller: int = 0
    answer_bytes: int = 1024 * 1024


class Asked(NamedTuple):
    """A request that carries a key: whose it is, the fingerprint of what it asks for, and what its caller may hold."""

    project: str
    caller: str
    key: str
    fingerprint: str
    allowance: Allowance = Allowance()

    @property
    def slot(self) -> Slot:
        return self.project, self.caller, self.key

    def params(self, **others: object) -> dict[str, object]:
        """The parameters of the queries."""
        own = {name: value for name, value in self._asdict().items() if name != "allowance"}
        allowed = self.allowance
        bounds = {"most_keys": allowed.keys, "most_bytes": allowed.bytes, "most_of_caller": allowed.of_caller}
        shard = zlib.crc32(self.key.encode()) % _SHARDS
        return {**own, **bounds, "pool": allowed.pool, "shard": shard, "seconds": KEPT_SECONDS, **others}


class Reserved(NamedTuple):
    """The request is this process's to carry out; `again` says that it may have been carried out already."""

    asked: Asked
    holder: str
    resource_id: str
    again: bool


class Remembered(msgspec.Struct, frozen=True):
    """An answer as it was given."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def size(self) -> int:
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers)


class Unkept(NamedTuple):
    """A request was answered and its answer was too long to be kept: this is the id of what it created."""

    resource_id: str


class KeyReused(Exception):
    """The key belongs to another request."""


class BudgetSpent(Exception):
    """No further key fits: `bound` names the field of the allowance, which has room again in so many `seconds`."""

    def __init__(self, bound: str, seconds: int) -> None:
        super().__init__(f"{bound}: {seconds} s")
        self.bound, self.seconds = bound, seconds


class Owed(NamedTuple):
    """What is to become of a key that nobody here is at work on, though the database may still say so."""

    query: str
    asked: Asked
    holder: str


class Idempotency:
    """Keys and answers of all processes on one database; a `holder` is a process's lease.

    One for all requests of a process: it knows which keys they are at work on. Whoever reserved one ends that by
    `remember`, `let_go` or `give_back`.
    """

    def __init__(self, database: Database, contents: Contents, vault: Vault) -> None:
        self._database, self._contents, self._vault = database, contents, vault
        self._at_work: set[Slot] = set()
        self._owed: dict[Slot, Owed] = {}
        self._paying: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """What is still owed gets free with this process's lease."""
        if self._paying is not None:
            self._paying.cancel()
            await asyncio.wait([self._paying])

    async def reserve(self, asked: Asked, holder: str, own_id: str) -> Reserved | Remembered | Unkept | None:
        """Begin a request that creates `own_id`, or get the answer of its like; None while another is at it.

        Raises KeyReused, BudgetSpent, and what opening a sealed answer raises.
        """
        while True:
            if asked.slot not in self._at_work and (reserved := await self._take(asked, holder, own_id)):
                return reserved
            known = await self._database.row(QUERIES["find"], asked.params())
            if known is None:
                if asked.slot not in self._at_work and await self._is_full(asked):
                    continue
                return None  # given back, or just being taken
            if known["over"]:
                await self.forget_old()
                continue
            if known["fingerprint"] != asked.fingerprint:
                raise KeyReused
            if known["answered"] and not known["kept"]:
                return Unkept(known["resource_id"])
            return await self._answer(asked, known["resource_id"]) if known["answered"] else None

    async def remember(self, reserved: Reserved, answer: Remembered) -> None:
        """Keep the answer, sealed, for those who ask again. When this raises, the key is still to be let go of."""
        asked = reserved.asked
        kept = answer.size <= asked.allowance.answer_bytes
        size = await self._keep(reserved, answer) if kept else 0
        params = asked.params(resource_id=reserved.resource_id, bytes=size, kept=kept)
        await self._database.execute(QUERIES["answered"], params)
        self._leave(asked.slot)

    def let_go(self, reserved: Reserved) -> None:
        """It is not known how the request ended: whoever repeats it takes it over, as soon as Postgres says so."""
        self._owe("let_go", reserved)
        self._leave(reserved.asked.slot)

    async def give_back(self, reserved: Reserved) -> None:
        """The request was refused: it may be sent again, changed or not; at once, unless Postgres is away."""
        self._owe("give_back", reserved)
        try:
            await self._pay(reserved.asked.slot)
        except (StoreError, psycopg.Error) as error:
            log.warning("idempotency_key_held", error=str(error).strip())
        finally:
            self._leave(reserved.asked.slot)

    async def forget_old(self) -> int:
        """Remove keys and answers whose day is over, and return how many. A key goes last, for it names its answer."""
        gone = 0
        while rows := await self._database.rows(QUERIES["over"], {"seconds": KEPT_SECONDS, "limit": _LIMIT}):
            await self._contents.drop([_stream(row["project_id"], row["resource_id"]) for row in rows])
            names = {f"{name}s": [row[column] for row in rows] for name, column in _SLOT_COLUMNS.items()}
            gone += int(await self._database.value(QUERIES["forget"], {**names, "seconds": KEPT_SECONDS}))
        return gone

    async def _is_full(self, asked: Asked) -> bool:
        """False if there is room, True once old keys have made some. Raises BudgetSpent when there is none."""
        spent = await self._database.row(QUERIES["spent"], asked.params())
        if spent is None or (bound := _bound(asked.allowance, spent)) is None:
            return False
        seconds = spent["caller_frees" if bound == "of_caller" else "pool_frees"]
        if seconds is not None and seconds <= 0 and await self.forget_old():
            return True
        raise BudgetSpent(bound, max(1, math.ceil(seconds or 1)))

    async def _keep(self, reserved: Reserved, answer: Remembered) -> int:
        """Keep an answer, and return how many bytes that takes."""
        project = reserved.asked.project
        stream = _stream(project, reserved.resource_id)
        packed = base64.b64encode(msgspec.msgpack.encode(answer)).decode("ascii")
        sealed = (await self._vault.seal(project, stream, KIND, packed)).encode("ascii")
        await self._contents.put(Content(stream, KIND, sealed), _VERSION)
        return len(sealed)

    async def _answer(self, asked: Asked, resource_id: str) -> Remembered | None:
        stream = _stream(asked.project, resource_id)
        try:
            sealed = await self._contents.read(stream, KIND, version=_VERSION)
        except ContentMissing:
            return None
        packed = await self._vault.open(asked.project, stream, KIND, sealed.decode("ascii"))
        return msgspec.msgpack.decode(base64.b64decode(packed), type=Remembered)

    async def _take(self, asked: Asked, holder: str, own_id: str) -> Reserved | None:
        """While it is not known whether the key was taken, it is owed."""
        reserved = Reserved(asked, holder, own_id, again=False)
        self._at_work.add(asked.slot)
        try:
            if asked.slot in self._owed:
                await self._pay(asked.slot)
            self._owe("let_go", reserved)
            row = await self._database.row(QUERIES["reserve"], asked.params(resource_id=own_id, holder=holder))
        except BaseException:
            self._leave(asked.slot)
            raise
        del self._owed[asked.slot]
        if row is None:
            self._leave(asked.slot)
            return None
        return reserved._replace(resource_id=row["resource_id"], again=row["resource_id"] != own_id)

    def _owe(self, query: str, reserved: Reserved) -> None:
        self._owed[reserved.asked.slot] = Owed(query, reserved.asked, reserved.holder)

    def _leave(self, slot: Slot) -> None:
        """Nobody here is at work on a key any more: what is owed for it is paid as soon as it can be."""
        self._at_work.discard(slot)
        if slot not in self._owed:
            return
        if len(self._owed) > MOST_OWED:
            del self._owed[slot]
        elif self._paying is None or self._paying.done():
            self._paying = asyncio.create_task(self._pay_all())

    async def _pay_all(self) -> None:
        while due := [slot for slot in self._owed if slot not in self._at_work]:
            try:
                for slot in due:
                    await self._pay_unless_at_work(slot)
            except (StoreError, psycopg.Error) as error:
                log.warning("idempotency_keys_held", keys=len(self._owed), error=str(error).strip())
                await asyncio.sleep(_PAUSE)

    async def _pay_unless_at_work(self, slot: Slot) -> None:
        """Kept from requests meanwhile, for what is paid late would take the key from one that has it anew."""
        if slot in self._owed and slot not in self._at_work:
            self._at_work.add(slot)
            try:
                await self._pay(slot)
            finally:
                self._at_work.discard(slot)

    async def _pay(self, slot: Slot) -> None:
        owed = self._owed[slot]
        await self._database.execute(QUERIES[owed.query], owed.asked.params(holder=owed.holder))
        del self._owed[slot]


_SLOT_COLUMNS = {"project": "project_id", "caller": "caller", "key": "key"}


def _bound(allowed: Allowance, spent: Row) -> str | None:
    """The bound that keeps a further key from being taken, None where there is none."""
    held = {"keys": spent["keys"], "bytes": spent["bytes"], "of_caller": spent["of_caller"]}
    return next((name for name, count in held.items() if 0 < getattr(allowed, name) <= count), None)


def _stream(project: str, resource_id: str) -> str:
    return f"idempotency:{project}:{resource_id}"
