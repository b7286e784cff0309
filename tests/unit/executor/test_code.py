"""The code cache: artefacts are fetched once, verified by digest, kept while in use, and limited in size."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from annals.domain.ports import Artefact
from annals.executor.errors import BadArchive
from annals.executor.pool.code import CodeCache, CodeMissing
from annals.store.content.blobs import Blobs
from tests.unit.executor.archives import gzipped


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs.open(tmp_path / "blobs")


def cache(tmp_path: Path, blobs: Blobs, most: int = 1_000_000) -> CodeCache:
    (tmp_path / "code").mkdir(exist_ok=True)
    return CodeCache(tmp_path / "code", blobs, most)


async def stored(blobs: Blobs, name: str, size: int = 10) -> Artefact:
    archive = gzipped({"main.py": name.encode() * size})
    blob = await blobs.put(name, archive)
    return Artefact(key=blob.key, digest=blob.digest, size=blob.size)


async def test_concurrent_takes_share_one_folder(tmp_path: Path, blobs: Blobs) -> None:
    code = cache(tmp_path, blobs)
    artefact = await stored(blobs, "a")
    paths = await asyncio.gather(*(code.take(artefact) for _ in range(10)))

    assert len(set(paths)) == 1
    assert (paths[0] / "main.py").read_text() == "a" * 10
    assert [p.name for p in (tmp_path / "code").iterdir()] == [artefact.digest]


async def test_archive_that_is_not_the_one_stored_is_never_unpacked(tmp_path: Path, blobs: Blobs) -> None:
    code = cache(tmp_path, blobs)
    artefact = await stored(blobs, "a")
    await blobs.put("a", gzipped({"main.py": b"evil"}))
    with pytest.raises(CodeMissing, match="digest differs"):
        await code.take(artefact)

    assert list((tmp_path / "code").iterdir()) == []


async def test_failed_fetch_is_repeated(tmp_path: Path, blobs: Blobs) -> None:
    code = cache(tmp_path, blobs)
    artefact = await stored(blobs, "a")
    content = await blobs.get("a")
    await blobs.delete("a")
    with pytest.raises(CodeMissing, match="no longer"):
        await code.take(artefact)
    await blobs.put("a", content)

    assert (await code.take(artefact)).is_dir()


async def test_least_recently_used_code_is_evicted_and_code_in_use_never(tmp_path: Path, blobs: Blobs) -> None:
    code = cache(tmp_path, blobs, most=2_500)
    first, second, third = [await stored(blobs, name, 1_000) for name in ("a", "b", "c")]
    used = await code.take(first)
    idle = await code.take(second)
    code.release(second.digest)
    await code.take(third)

    assert used.exists()
    assert not idle.exists()


async def test_broken_artefact_is_not_adopted(tmp_path: Path, blobs: Blobs) -> None:
    code = cache(tmp_path, blobs)
    broken = tmp_path / "broken"
    broken.write_bytes(b"no archive")
    with pytest.raises(BadArchive):
        await code.adopt(broken, hashlib.sha256(b"x").hexdigest())

    assert list((tmp_path / "code").iterdir()) == []
