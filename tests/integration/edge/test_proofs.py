"""Checkpoints and proofs over HTTP, verified as a client would."""

import base64
import hashlib
import struct
from typing import Any

import pytest

from annals.app.services import Services
from annals.store.log.archives import Archives
from annals.store.proof.notes import Checkpoint, signing_key
from annals.store.tree.merkle import check_consistency, check_inclusion
from tests.integration.edge.client import Client
from tests.integration.proof.sealed import Sealed


@pytest.fixture
def sealed(services: Services) -> Sealed:
    return Sealed(services.log, Archives(services.database, services.blobs), services.settings.folder)


async def create(client: Client, name: str) -> int:
    """Create a function; return the position of its event."""
    reply = await client.post("/v1/functions", functionId=name, name=name, runtime="node-22")
    assert reply.status == 201
    return int(reply.headers["x-annals-position"])


def bytes_of(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]


async def test_event_is_proven_to_be_in_the_signed_log(key: Client, sealed: Sealed, services: Services) -> None:
    position = await create(key, "proven")
    await create(key, "later")
    await sealed.seal()

    proof: Any = (await key.get(f"/v1/events/{position}/proof")).json

    verifier = signing_key(services.settings.folder / "seal.key").verifier
    signed = verifier.open(proof["checkpoint"]["note"])
    leaf = base64.b64decode(proof["leaf"])
    check_inclusion(
        hashlib.sha256(b"\x00" + leaf).digest(), proof["leafIndex"], signed.size, bytes_of(proof["hashes"]), signed.root
    )
    assert struct.unpack_from(">BQ", leaf) == (1, position)
    assert b"function:p1:proven" in leaf
    assert base64.b64decode(proof["leafHash"]) == hashlib.sha256(b"\x00" + leaf).digest()
    assert proof["checkpoint"]["root"] == base64.b64encode(signed.root).decode()


async def test_later_checkpoint_goes_on_from_a_former_one(plain: Client, sealed: Sealed) -> None:
    first = await sealed.seal()
    await create(plain, "one")
    second = await sealed.seal()

    answer: Any = (await plain.get("/v1/checkpoints/consistency", None, **{"from": str(first.size)})).json

    assert (answer["from"]["size"], answer["to"]["size"]) == (first.size, second.size)
    check_consistency((first.size, first.root), (second.size, second.root), bytes_of(answer["hashes"]))


async def test_checkpoints_are_listed_like_everything_else(plain: Client, sealed: Sealed) -> None:
    made: list[Checkpoint] = [await sealed.seal()]
    for name in ("one", "two"):
        await create(plain, name)
        made.append(await sealed.seal())

    everything: Any = (await plain.get("/v1/checkpoints")).json
    page: Any = (
        await plain.get(
            "/v1/checkpoints",
            [
                {"method": "orderDesc", "attribute": "size"},
                {"method": "cursorAfter", "values": [str(made[2].size)]},
                {"method": "limit", "values": [1]},
            ],
        )
    ).json

    assert everything["total"] == 3
    assert [one["$id"] for one in everything["checkpoints"]] == [str(one.size) for one in made]
    assert [one["size"] for one in page["checkpoints"]] == [made[1].size]
    latest: Any = (await plain.get("/v1/checkpoints/latest")).json
    assert latest == everything["checkpoints"][2]


async def test_unprovable_positions_are_refused(plain: Client, sealed: Sealed) -> None:
    assert (await plain.get("/v1/checkpoints/latest")).error == (404, "checkpoint_not_found")
    position = await create(plain, "one")
    checkpoint = await sealed.seal()
    newer = await create(plain, "two")
    other = plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")

    assert (await plain.get(f"/v1/events/{newer}/proof")).error == (400, "event_not_sealed")
    assert (await plain.get("/v1/events/99999/proof")).error == (404, "event_not_found")
    assert (await other.get(f"/v1/events/{position}/proof")).error == (404, "event_not_found")
    assert (await plain.get(f"/v1/events/{position}/proof", None, checkpoint="99999")).error == (
        404, "checkpoint_not_found",
    )  # fmt: skip
    assert (await plain.get("/v1/events/first/proof")).error == (400, "general_argument_invalid")
    assert (await plain.get("/v1/checkpoints/consistency")).error == (400, "general_argument_invalid")
    one = await plain.get("/v1/checkpoints/consistency", None, **{"from": str(checkpoint.size + 1)})
    assert one.error == (404, "checkpoint_not_found")


@pytest.mark.parametrize("path", ["/v1/checkpoints", "/v1/checkpoints/latest", "/v1/events/1/proof"])
async def test_proofs_need_their_scope(plain: Client, anonymous: Client, path: str) -> None:
    assert (await plain.with_(x_appwrite_key="p1-read").get(path)).error == (401, "general_unauthorized_scope")
    assert (await anonymous.get(path)).status == 401
