"""Heartbeats of processes."""

import os

from annals.store.coordination.leases import Leases
from annals.store.postgres.database import Database


async def test_each_process_counts_in_a_row_of_its_own(database: Database) -> None:
    leases = Leases(database)

    assert [await leases.beat("w1", "worker") for _ in range(3)] == [1, 2, 3]
    assert await leases.beat("k1", "keeper", doing="follows the log") == 1

    keeper, worker = await leases.holders()
    assert (keeper.holder, keeper.role, keeper.doing, keeper.pid) == ("k1", "keeper", "follows the log", os.getpid())
    assert (worker.holder, worker.beats, worker.doing) == ("w1", 3, "")


async def test_process_that_ends_takes_its_row_along(database: Database) -> None:
    leases = Leases(database)
    for holder in ("w1", "w2", "w3"):
        await leases.beat(holder, "worker")

    await leases.leave("w1")
    await leases.forget({"w2": 1, "never": 1})

    assert [holder.holder for holder in await leases.holders()] == ["w3"]
    assert await leases.beat("w1", "worker") == 1


async def test_process_with_a_later_heartbeat_is_not_removed(database: Database) -> None:
    leases = Leases(database)
    await leases.beat("w1", "worker")
    await leases.beat("w1", "worker")

    await leases.forget({"w1": 1})

    assert [holder.beats for holder in await leases.holders()] == [2]
