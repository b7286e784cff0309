"""The wire models of checkpoints and proofs. Hashes are in base64, as in notes."""

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from annals.app.checkpoints.queries import Consistency, Inclusion
from annals.app.wire import wire_date
from annals.store.postgres.database import Row


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
