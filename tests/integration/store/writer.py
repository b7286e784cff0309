"""A process that appends pairs of events to its own streams, and prints the acknowledged ones."""

import asyncio
import sys

from eventsourcing.persistence import StoredEvent

from annals.store.log.group_append import GroupAppender
from annals.store.log.request import AppendRequest
from annals.store.postgres.database import Database


async def write(url: str, name: str, callers: int, each: int) -> None:
    database = await Database.open(url, size=1)
    appender = GroupAppender(database)

    async def caller(number: int) -> None:
        for turn in range(each):
            streams = [f"{side}:p:{name}-{number}-{turn}" for side in ("left", "right")]
            appended = await appender.append(AppendRequest([StoredEvent(s, 1, "pair", b"{}") for s in streams]))
            print(streams[0], appended.positions[0], flush=True)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    await appender.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
