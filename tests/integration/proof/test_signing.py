"""The keeper signs the log as it grows, and the readiness check reports why it cannot."""

from pathlib import Path

import pytest

from annals.settings import Settings
from annals.store.content.blobs import BlobError
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from annals.store.proof.notes import signing_key
from annals.workers.followers import Sealing
from tests.integration.proof.sealed import Sealed, fill


class Keeper:
    def __init__(self, sealed: Sealed, folder: Path, *destinations: str) -> None:
        self.settings = Settings(data=folder, checkpoint_places=destinations)
        listener = Listener(sealed.database)
        self.sealing = Sealing(sealed.log, self.settings)
        self.follower = self.sealing.follower(listener, TailCache(sealed.log.reader, listener))

    async def turn(self) -> int | None:
        while await self.follower.catch_up():
            continue
        signed = await self.sealing.sign()
        return None if signed is None else signed.size


async def shown(database: Database) -> tuple[int, str]:
    row = await database.row("SELECT position, error FROM checkpoints WHERE name = 'checkpoint'")
    assert row is not None
    return row["position"], row["error"]


async def test_growing_log_is_signed_and_an_idle_one_is_not_signed_again(sealed: Sealed, tmp_path: Path) -> None:
    keeper = Keeper(sealed, tmp_path, str(tmp_path / "far"))
    assert await keeper.turn() is None

    await fill(sealed.database, 300)
    assert [await keeper.turn(), await keeper.turn()] == [300, 300]
    await fill(sealed.database, 10, project="q")
    assert await keeper.turn() == 310

    verifier = signing_key(keeper.settings.seal_key).verifier
    kept = [path.read_text() for path in sorted((tmp_path / "far" / "seal" / "checkpoints").rglob("0*"))]
    assert [verifier.open(note).size for note in kept] == [300, 310]
    assert await shown(sealed.database) == (310, "")
    assert await sealed.database.value("SELECT count(*) FROM seal_checkpoints WHERE outside_at IS NULL") == 0


async def test_new_keeper_continues_from_the_last_signed_checkpoint(sealed: Sealed, tmp_path: Path) -> None:
    await fill(sealed.database, 5)
    await Keeper(sealed, tmp_path).turn()
    await fill(sealed.database, 5, project="q")

    assert await Keeper(sealed, tmp_path).turn() == 10


async def test_destination_that_was_away_gets_the_missed_checkpoints(sealed: Sealed, tmp_path: Path) -> None:
    far = tmp_path / "far"
    keeper = Keeper(sealed, tmp_path, str(far))
    await fill(sealed.database, 5)
    await keeper.turn()
    (far / "seal" / "latest").unlink()
    (far / "seal" / "latest").mkdir()
    await fill(sealed.database, 5, project="q")

    with pytest.raises(BlobError):
        await keeper.turn()
    (far / "seal" / "latest").rmdir()
    await keeper.turn()

    assert (far / "seal" / "latest").read_text().split("\n")[1] == "10"


async def test_rewritten_tree_is_never_signed(sealed: Sealed, tmp_path: Path) -> None:
    keeper = Keeper(sealed, tmp_path)
    await fill(sealed.database, 20)
    await keeper.turn()
    await sealed.database.execute("UPDATE events SET state = '{}' WHERE notification_id = 7")
    await sealed.database.execute("DELETE FROM seal_tiles")
    await sealed.database.execute("DELETE FROM checkpoints WHERE name = 'seal'")
    await fill(sealed.database, 5, project="q")

    assert await Keeper(sealed, tmp_path).turn() is None

    position, error = await shown(sealed.database)
    assert position == 20
    assert "Run `annals verify`" in error


async def test_key_file_without_a_key_raises_an_error(sealed: Sealed, tmp_path: Path) -> None:
    (tmp_path / "seal.key").write_text("nonsense")
    await fill(sealed.database, 5)

    assert await Keeper(sealed, tmp_path).turn() is None

    assert "does not hold a signing key" in (await shown(sealed.database))[1]
