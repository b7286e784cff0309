"""`annals verify --contents` names damaged contents, and no export contains them as if they were whole."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from annals.store.errors import ContentDamaged
from annals.store.log.archives import Archives
from annals.store.portable.export import ExportSelection
from annals.store.proof.contents_check import ContentsCheck
from tests.integration.portable.instances import Instance
from tests.integration.projections.history import P

LOGS, BUILD, SOURCE = (
    f"the logs of execution:{P}:e0",
    f"the build of deployment:{P}:d1",
    f"the source of deployment:{P}:d1",
)
OTHER = "does not have the digest that was recorded for it"


async def faults(instance: Instance) -> Sequence[tuple[str, int, str]]:
    blobs = instance.log.contents.blobs
    check = ContentsCheck(instance.database, blobs, Archives(instance.database, blobs))
    found = await check.run()
    assert check.read == 5
    return [(fault.kind, fault.position, fault.detail) for fault in found]


async def position(instance: Instance, topic: str, stream: str) -> int:
    query = "SELECT notification_id FROM events WHERE topic = %s AND originator_id = %s"
    return int(await instance.database.value(query, (topic, stream)))


async def blob_of(instance: Instance, stream: str) -> str:
    return str(await instance.database.value("SELECT blob FROM contents WHERE stream = %s", (stream,)))


async def flip(instance: Instance, key: str) -> None:
    """Change one byte of a blob."""
    data = bytearray(await instance.log.contents.blobs.get(key))
    data[len(data) // 2] ^= 1
    await instance.log.contents.blobs.put(key, bytes(data))


async def test_unchanged_contents_have_no_faults(here: Instance) -> None:
    assert await faults(here) == []


async def test_changed_byte_is_found_wherever_it_lies(here: Instance) -> None:
    ended = await position(here, "execution.completed", f"execution:{P}:e0")
    built = await position(here, "deployment.build_succeeded", f"deployment:{P}:d1")
    begun = await here.database.value("SELECT sequence FROM deployments WHERE deployment_id = 'd1'")

    await flip(here, await blob_of(here, f"execution:{P}:e0"))
    await flip(here, await blob_of(here, f"deployment:{P}:d1"))
    await flip(here, f"sources/{P}/d1/a")
    await here.database.execute("UPDATE contents SET data = 'other' WHERE stream = %s", (f"execution:{P}:e1",))

    found = await faults(here)
    assert found[:2] == [
        ("content_damaged", built, f"{BUILD} {OTHER}"),
        ("content_damaged", ended, f"{LOGS} {OTHER}"),
    ]
    assert [detail for _, _, detail in found[2:]] == [f"the logs of execution:{P}:e1 {OTHER}", f"{SOURCE} {OTHER}"]
    assert found[3][1] == begun


async def test_digest_that_was_changed_with_its_bytes_is_named_by_no_event(here: Instance) -> None:
    await here.database.execute(
        "UPDATE contents SET data = 'other', digest = encode(sha256('other'), 'hex') WHERE stream = %s",
        (f"execution:{P}:e1",),
    )

    [(_, _, detail)] = await faults(here)

    assert detail == f"the logs of execution:{P}:e1 has a digest that no event names"


async def test_missing_blob_is_reported_by_its_key(here: Instance) -> None:
    blob = await blob_of(here, f"execution:{P}:e0")
    await here.log.contents.blobs.delete(blob, f"artefacts/{P}/d1/a")

    reported = [detail for _, _, detail in await faults(here)]

    gone = f"the artefact of deployment:{P}:d1 is gone: there is no blob artefacts/{P}/d1/a"
    assert reported == [f"{LOGS} is gone: there is no blob {blob}", gone]


@pytest.mark.parametrize("kind", ["sources", "artefacts", "contents"])
async def test_damaged_content_fails_the_export(here: Instance, tmp_path: Path, kind: str) -> None:
    await flip(here, await blob_of(here, f"execution:{P}:e0") if kind == "contents" else f"{kind}/{P}/d1/a")

    with pytest.raises(ContentDamaged, match="cannot be given"):
        await here.export(tmp_path / "e.ndjson.zst", ExportSelection(contents=True, backup=True))

    assert not (tmp_path / "e.ndjson.zst").exists()
