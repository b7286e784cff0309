"""Several processes on one log, and one of them killed."""

import asyncio
import signal
import sys

from annals.store.postgres.database import Database

QUERY = "SELECT notification_id, originator_id FROM events WHERE notification_id > %s ORDER BY notification_id"


async def _start(url: str, name: str, each: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.store.writer", url, name, "8", str(each),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _acknowledged(process: asyncio.subprocess.Process) -> dict[str, int]:
    output, _ = await process.communicate()
    whole = output[: output.rfind(b"\n") + 1]
    return {stream: int(position) for stream, position in (line.split() for line in whole.decode().splitlines())}


async def test_appends_of_several_processes_are_complete_ordered_and_followed(
    database: Database, database_url: str
) -> None:
    processes = [await _start(database_url, f"w{number}", 40) for number in range(3)]
    done = asyncio.gather(*(_acknowledged(process) for process in processes))
    seen: list[str] = []
    last = 0
    while True:
        ended = done.done()
        rows = await database.rows(QUERY, (last,))
        seen += [row["originator_id"] for row in rows]
        last = rows[-1]["notification_id"] if rows else last
        if ended and not rows:
            break
        await asyncio.sleep(0)

    acknowledged = {stream: position for one in await done for stream, position in one.items()}
    assert len(acknowledged) == 3 * 8 * 40
    assert len(seen) == 2 * len(acknowledged)
    stored = {row["originator_id"]: row["notification_id"] for row in await database.rows(QUERY, (0,))}
    assert seen == list(stored)
    assert all(stored[stream] == position for stream, position in acknowledged.items())


async def test_process_killed_mid_append_loses_no_acknowledged_event_and_leaves_no_partial_append(
    database: Database, database_url: str
) -> None:
    process = await _start(database_url, "w", 100_000)
    while await database.value("SELECT count(*) FROM events") < 200:
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    acknowledged = await _acknowledged(process)
    other = await _acknowledged(await _start(database_url, "other", 2))  # the lock of the dead process is free

    streams = {row["originator_id"] for row in await database.rows(QUERY, (0,))}
    left = {stream.removeprefix("left:") for stream in streams if stream.startswith("left:")}
    right = {stream.removeprefix("right:") for stream in streams if stream.startswith("right:")}
    assert left == right
    assert acknowledged
    assert acknowledged.keys() <= streams
    assert len(other) == 16
