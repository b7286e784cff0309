"""The operations on checkpoints and proofs, which the seal's tree gives. Hashes are in base64, as in notes."""

import asyncio
import base64
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.errors import CheckpointNotFound, EventNotFound, EventNotSealed
from annals.app.identity.scopes import EVENTS_READ
from annals.app.parameters import IntegerRange, Parameters, optional, required
from annals.app.queries.page import list_parameters
from annals.app.queries.reading import read_list
from annals.app.queries.schema import integer, schema
from annals.app.queries.statements import Sql
from annals.app.wire import wire_date
from annals.store.log.archives import project_of
from annals.store.log.stored_row import StoredRow, as_leaf
from annals.store.postgres import sql
from annals.store.postgres.database import Row
from annals.store.proof.proofs import Proofs
from annals.store.tree.merkle import leaf_hash
from annals.store.tree.tiles import QUERIES as SEAL

QUERIES = sql.load(__package__, "queries.sql")
SCHEMA = schema(
    f"({QUERIES['listed']}) AS listed",
    "checkpoint_id",
    "Checkpoint",
    size=integer("size"),
    position=integer("position"),
)
LIST = list_parameters(SCHEMA)
_MOST = 2**62
_SIZE = IntegerRange(1, _MOST)
PROOF = Parameters(position=required(IntegerRange(1, _MOST)), checkpoint=optional(_SIZE))
CONSISTENCY = Parameters(**{"from": required(_SIZE), "to": optional(_SIZE)})


class Inclusion(NamedTuple):
    """The proof that an event is the leaf `leaf` of the tree: its bytes, and the path to the checkpoint's root."""

    row: StoredRow
    leaf: int
    path: list[bytes]
    checkpoint: Row

    @property
    def leaf_bytes(self) -> bytes:
        return as_leaf(self.row)

    @property
    def leaf_hash(self) -> bytes:
        return leaf_hash(self.leaf_bytes)


class Consistency(NamedTuple):
    """The proof that a checkpoint's log is the beginning of a later checkpoint's log."""

    former: Row
    later: Row
    path: list[bytes]


async def checkpoint(call: Call, size: int | None) -> Row:
    """Return the checkpoint of a size, or the newest. Raises CheckpointNotFound."""
    name = "checkpoint" if size is not None else "newest_checkpoint"
    row = await call.services.database.row(SEAL[name], {"size": size})
    if row is None:
        raise CheckpointNotFound
    return row


async def inclusion(call: Call, position: int, size: int | None) -> Inclusion:
    """Return the proof that a checkpoint covers an event.

    Raises EventNotFound, also for an event of another project, CheckpointNotFound, EventNotSealed.
    """
    proofs: Proofs = call.services.proofs
    row = await proofs.row(position)
    if row is None or project_of(row.stream) != call.project_id or position < await call.incarnation():
        raise EventNotFound
    signed, leaf = await asyncio.gather(checkpoint(call, size), proofs.leaf(position))
    if leaf is None or leaf >= signed["size"]:
        raise EventNotSealed
    return Inclusion(row, leaf, await proofs.nodes.inclusion(leaf, signed["size"]), signed)


async def consistency(call: Call, former: int, later: int | None) -> Consistency:
    """Return the proof that one checkpoint extends another. Raises CheckpointNotFound."""
    one, other = await asyncio.gather(checkpoint(call, former), checkpoint(call, later))
    first, second = sorted((one, other), key=lambda row: int(row["size"]))
    return Consistency(first, second, await call.services.proofs.nodes.consistency(first["size"], second["size"]))


class CheckpointModel(msgspec.Struct):
    """`size` events up to `position` have this root. `note` says so and is signed with the log's key."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    size: int
    position: int
    root: str
    note: str


class ProofModel(msgspec.Struct, rename="camel"):
    """`leaf` holds all sealed bytes of the event. Its hash, together with `hashes`, leads to the root."""

    position: int
    leaf_index: int
    leaf: str
    leaf_hash: str
    hashes: list[str]
    checkpoint: CheckpointModel


class JoinedModel(msgspec.Struct):
    """`hashes` prove that the log of `from` is the beginning of the log of `to`."""

    former: CheckpointModel = msgspec.field(name="from")
    later: CheckpointModel = msgspec.field(name="to")
    hashes: list[str]


def present(row: Row) -> CheckpointModel:
    return CheckpointModel(
        id=str(row["size"]),
        created_at=wire_date(row.get("created_at") or row["signed_at"]),
        size=row["size"],
        position=row["position"],
        root=_text(row["root"]),
        note=row["note"],
    )


def present_inclusion(found: Inclusion) -> ProofModel:
    return ProofModel(
        position=found.row.position,
        leaf_index=found.leaf,
        leaf=_text(found.leaf_bytes),
        leaf_hash=_text(found.leaf_hash),
        hashes=_texts(found.path),
        checkpoint=present(found.checkpoint),
    )


def present_consistency(found: Consistency) -> JoinedModel:
    return JoinedModel(former=present(found.former), later=present(found.later), hashes=_texts(found.path))


def present_list(rows: Iterable[Row], total: int) -> dict[str, Any]:
    return {"total": total, "checkpoints": [present(row) for row in rows]}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _texts(hashes: Iterable[bytes]) -> list[str]:
    return [_text(one) for one in hashes]


class CheckpointController(operation.ResourceController):
    path = "/v1"

    @operation.get("/checkpoints", scopes=EVENTS_READ, parameters=LIST)
    async def list_checkpoints(self, call: Call) -> Answer:
        found = await read_list(call, call.values["queries"], SCHEMA, Sql("true"), counted=call.values["total"])
        return json_answer(present_list(found.rows, found.total))

    @operation.get("/checkpoints/latest", scopes=EVENTS_READ)
    async def latest(self, call: Call) -> Answer:
        return json_answer(present(await checkpoint(call, None)))

    @operation.get("/checkpoints/consistency", scopes=EVENTS_READ, parameters=CONSISTENCY)
    async def consistency(self, call: Call) -> Answer:
        found = await consistency(call, call.values["from"], call.values["to"])
        return json_answer(present_consistency(found))

    @operation.get("/events/{position:str}/proof", scopes=EVENTS_READ, parameters=PROOF)
    async def proof(self, call: Call) -> Answer:
        await call.caller()
        found = await inclusion(call, call.values["position"], call.values["checkpoint"])
        return json_answer(present_inclusion(found))
