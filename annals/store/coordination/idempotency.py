"""Idempotency keys: of equal requests with one key one is carried out, and the others get its answer, for a day.

A key is in one of these states. Each arrow is a statement of `idempotency.sql` or the end of a process's lease:

                 reserve                store_answer
      free ──────────────▶ reserved ─────────────────▶ answered, or answer not stored
       ▲                    │ │   ▲
       │        free        │ │   │ reserve, by the next equal request
       ├────────────────────┘ ▼   │
       │                     released: after `release`, or when the lease of the holder ends
       │
       └── forget: from any state, a day after the key was reserved

- free: no row. The key was never used, its request was refused and changed nothing, or its day is over.
- reserved: `holder`, the process that carries out the request, has a lease. Equal requests wait.
- released: how the request ended is not known. The next equal request takes the key over.
- answered: equal requests get the stored answer.
- answer not stored: the answer was too long. Equal requests get the created resource, read again.

The id of the resource that a request creates is reserved with its key. So an equal request that takes a released key
over finds what was created, or creates it under the same id. Who owns a key, and how keys are released while Postgres
is away: docs/adr/0035-idempotency-key-ownership.md.

An `Allowance` bounds keys and the bytes of their answers. Postgres counts them in the statements that take and forget
keys, so the bounds hold over all processes and restarts.

One file because the states of a key and their transitions are one machine.
"""

import asyncio
import base64
import enum
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
MOST_PENDING = 10_000
"""Keys that a process releases or frees later, while Postgres is away. Further keys stay reserved until its lease ends,
but the process itself takes them over."""

_VERSION = 1
_LIMIT = 500
_PAUSE = 0.5
_SHARDS = 8

log = structlog.get_logger(__name__)

KeyId = tuple[str, str, str]
"""Project, caller and key."""


class KeyState(enum.Enum):
    """The state of a key that has a row, as the query `find` returns it."""

    RESERVED = "reserved"
    """Or released, until the next request takes it over."""

    ANSWERED = "answered"
    ANSWER_NOT_STORED = "answer_not_stored"
    EXPIRED = "expired"


class Ending(enum.Enum):
    """How a reservation ends without an answer; the value is the name of the query."""

    RELEASE = "release"
    FREE = "free"


class Allowance(NamedTuple):
    """How many of a project's keys callers of one kind, a `pool`, may hold at once; 0: no limit.

    An answer longer than `answer_bytes` is not stored, only the id of the created resource.
    """

    pool: str = "keys"
    keys: int = 0
    bytes: int = 0
    of_caller: int = 0
    answer_bytes: int = 1024 * 1024


class KeyedRequest(NamedTuple):
    """A request with an idempotency key, its caller, the fingerprint of its content, and the caller's allowance."""

    project: str
    caller: str
    key: str
    fingerprint: str
    allowance: Allowance = Allowance()

    @property
    def key_id(self) -> KeyId:
        return self.project, self.caller, self.key

    def params(self, **others: object) -> dict[str, object]:
        """Return the parameters of the queries."""
        own = {name: value for name, value in self._asdict().items() if name != "allowance"}
        allowed = self.allowance
        bounds = {"most_keys": allowed.keys, "most_bytes": allowed.bytes, "most_of_caller": allowed.of_caller}
        shard = zlib.crc32(self.key.encode()) % _SHARDS
        return {**own, **bounds, "pool": allowed.pool, "shard": shard, "seconds": KEPT_SECONDS, **others}


class Reserved(NamedTuple):
    """This process carries out the request. If it was `taken_over`, it may have been carried out already."""

    request: KeyedRequest
    holder: str
    resource_id: str
    taken_over: bool


class InProgress(msgspec.Struct, frozen=True):
    """Another request with the key is being carried out: try again in a moment."""


class StoredAnswer(msgspec.Struct, frozen=True):
    """The answer to the first request."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def size(self) -> int:
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers)


class AnswerNotStored(NamedTuple):
    """The first request was answered, and created this resource; the answer was too long to be stored."""

    resource_id: str


Reservation = Reserved | InProgress | StoredAnswer | AnswerNotStored


class KeyReused(Exception):
    """The key belongs to another request."""


class BudgetSpent(Exception):
    """No further key fits: `bound` names the field of the allowance, which has room again in so many `seconds`."""

    def __init__(self, bound: str, seconds: int) -> None:
        super().__init__(f"{bound}: {seconds} s")
        self.bound = bound
        self.seconds = seconds


class _Pending(NamedTuple):
    """The ending of a reservation that is not in the database yet."""

    ending: Ending
    request: KeyedRequest
    holder: str


class Idempotency:
    """Keys and answers of all processes on one database; a `holder` is a process's lease.

    One for all requests of a process: it knows which keys they use. Each reservation ends by `store_answer`, `release`
    or `free`.
    """

    def __init__(self, database: Database, contents: Contents, vault: Vault) -> None:
        self._database = database
        self._contents = contents
        self._vault = vault
        self._in_use: set[KeyId] = set()
        self._pending: dict[KeyId, _Pending] = {}
        self._ending: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Stop. Keys with pending endings are released when this process's lease ends."""
        if self._ending is not None:
            self._ending.cancel()
            await asyncio.wait([self._ending])

    async def reserve(self, request: KeyedRequest, holder: str, own_id: str) -> Reservation:
        """Reserve the key for a request that creates `own_id`, or return what became of the request before.

        Raises KeyReused, BudgetSpent, and what opening a sealed answer raises.
        """
        while True:
            if request.key_id not in self._in_use and (reserved := await self._take(request, holder, own_id)):
                return reserved
            row = await self._database.row(QUERIES["find"], request.params())
            if row is None:  # the budget is spent, or the key was freed or is taken in this moment
                if request.key_id not in self._in_use and await self._is_full(request):
                    continue
                return InProgress()
            state = KeyState(row["state"])
            if state is KeyState.EXPIRED:
                await self.forget_old()
                continue
            if row["fingerprint"] != request.fingerprint:
                raise KeyReused
            if state is KeyState.ANSWERED:
                return await self._read_answer(request, row["resource_id"])
            return AnswerNotStored(row["resource_id"]) if state is KeyState.ANSWER_NOT_STORED else InProgress()

    async def store_answer(self, reserved: Reserved, answer: StoredAnswer) -> None:
        """Seal and store the answer for equal requests. If this raises, the key still has to be released."""
        request = reserved.request
        kept = answer.size <= request.allowance.answer_bytes
        size = await self._store(reserved, answer) if kept else 0
        params = request.params(resource_id=reserved.resource_id, bytes=size, kept=kept)
        await self._database.execute(QUERIES["store_answer"], params)
        self._leave(request.key_id)

    def release(self, reserved: Reserved) -> None:
        """Let an equal request take the key over, as soon as Postgres has it: how this one ended is not known."""
        self._plan(Ending.RELEASE, reserved)
        self._leave(reserved.request.key_id)

    async def free(self, reserved: Reserved) -> None:
        """Free the key of a request that was refused, at once unless Postgres is away."""
        self._plan(Ending.FREE, reserved)
        try:
            await self._end(reserved.request.key_id)
        except (StoreError, psycopg.Error) as error:
            log.warning("idempotency_key_held", error=str(error).strip())
        finally:
            self._leave(reserved.request.key_id)

    async def forget_old(self) -> int:
        """Remove keys and answers whose day is over, and return how many keys. A key goes last: it names its answer."""
        forgotten = 0
        while rows := await self._database.rows(QUERIES["expired"], {"seconds": KEPT_SECONDS, "limit": _LIMIT}):
            await self._contents.drop([_stream(row["project_id"], row["resource_id"]) for row in rows])
            names = {f"{name}s": [row[column] for row in rows] for name, column in _KEY_COLUMNS.items()}
            forgotten += int(await self._database.value(QUERIES["forget"], {**names, "seconds": KEPT_SECONDS}))
        return forgotten

    async def _is_full(self, request: KeyedRequest) -> bool:
        """Return False if the budget has room, True if forgetting old keys made room. Raises BudgetSpent."""
        spent = await self._database.row(QUERIES["spent"], request.params())
        if spent is None or (bound := _bound(request.allowance, spent)) is None:
            return False
        seconds = spent["caller_frees" if bound == "of_caller" else "pool_frees"]
        if seconds is not None and seconds <= 0 and await self.forget_old():
            return True
        raise BudgetSpent(bound, max(1, math.ceil(seconds or 1)))

    async def _store(self, reserved: Reserved, answer: StoredAnswer) -> int:
        """Store an answer, and return how many bytes that takes."""
        project = reserved.request.project
        stream = _stream(project, reserved.resource_id)
        packed = base64.b64encode(msgspec.msgpack.encode(answer)).decode("ascii")
        sealed = (await self._vault.seal(project, stream, KIND, packed)).encode("ascii")
        await self._contents.put(Content(stream, KIND, sealed), _VERSION)
        return len(sealed)

    async def _read_answer(self, request: KeyedRequest, resource_id: str) -> StoredAnswer | InProgress:
        stream = _stream(request.project, resource_id)
        try:
            sealed = await self._contents.read(stream, KIND, version=_VERSION)
        except ContentMissing:  # it is being forgotten
            return InProgress()
        packed = await self._vault.open(request.project, stream, KIND, sealed.decode("ascii"))
        return msgspec.msgpack.decode(base64.b64decode(packed), type=StoredAnswer)

    async def _take(self, request: KeyedRequest, holder: str, own_id: str) -> Reserved | None:
        """Reserve a free or released key. While the outcome is unknown, its release is pending."""
        reserved = Reserved(request, holder, own_id, taken_over=False)
        self._in_use.add(request.key_id)
        try:
            if request.key_id in self._pending:
                await self._end(request.key_id)
            self._plan(Ending.RELEASE, reserved)
            row = await self._database.row(QUERIES["reserve"], request.params(resource_id=own_id, holder=holder))
        except BaseException:
            self._leave(request.key_id)
            raise
        del self._pending[request.key_id]
        if row is None:
            self._leave(request.key_id)
            return None
        return reserved._replace(resource_id=row["resource_id"], taken_over=row["resource_id"] != own_id)

    def _plan(self, ending: Ending, reserved: Reserved) -> None:
        self._pending[reserved.request.key_id] = _Pending(ending, reserved.request, reserved.holder)

    def _leave(self, key_id: KeyId) -> None:
        """Note that no request of this process uses the key, and execute its pending ending as soon as possible."""
        self._in_use.discard(key_id)
        if key_id not in self._pending:
            return
        if len(self._pending) > MOST_PENDING:
            del self._pending[key_id]
        elif self._ending is None or self._ending.done():
            self._ending = asyncio.create_task(self._end_all())

    async def _end_all(self) -> None:
        while due := [key_id for key_id in self._pending if key_id not in self._in_use]:
            try:
                for key_id in due:
                    await self._end_unless_in_use(key_id)
            except (StoreError, psycopg.Error) as error:
                log.warning("idempotency_keys_held", keys=len(self._pending), error=str(error).strip())
                await asyncio.sleep(_PAUSE)

    async def _end_unless_in_use(self, key_id: KeyId) -> None:
        """Execute an ending while no request may use the key: a late ending would take it from a new reservation."""
        if key_id in self._pending and key_id not in self._in_use:
            self._in_use.add(key_id)
            try:
                await self._end(key_id)
            finally:
                self._in_use.discard(key_id)

    async def _end(self, key_id: KeyId) -> None:
        ending, request, holder = self._pending[key_id]
        await self._database.execute(QUERIES[ending.value], request.params(holder=holder))
        del self._pending[key_id]


_KEY_COLUMNS = {"project": "project_id", "caller": "caller", "key": "key"}


def _bound(allowed: Allowance, spent: Row) -> str | None:
    """Return the name of the bound that a further key would exceed, None if it fits."""
    held = {"keys": spent["keys"], "bytes": spent["bytes"], "of_caller": spent["of_caller"]}
    return next((name for name, count in held.items() if 0 < getattr(allowed, name) <= count), None)


def _stream(project: str, resource_id: str) -> str:
    return f"idempotency:{project}:{resource_id}"
