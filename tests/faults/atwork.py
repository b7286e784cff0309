"""What an instance's executors say they have, held against what there is on the host."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from annals.executor.wire.client import ExecutorClient
from annals.executor.wire.protocol import Status
from annals.supervisor.folders import Folders, Running
from tests.instance import AnnalsInstance
from tests.sandboxes import beyond, kept, listener, processes, strays

HELD = ("instances", "idle")
RESTS = ("executions", "builds", "starting", "in_flight", "waiting", "queued")
"""Counts of an executor: of what it keeps, and of what is none once nothing is under way."""


def running(instance: AnnalsInstance) -> Running:
    """What the instance has told other commands."""
    found = Folders(instance.data).running()
    assert found is not None
    return found


def leftovers(instance: AnnalsInstance) -> list[str]:
    """What runs, is mounted or lies around beyond the instances that its executors say they keep."""
    settings = running(instance).settings
    blobs = Path(unquote(urlsplit(settings["ANNALS_BLOBS_URL"]).path) or instance.data / "blobs")
    found = [str(path) for path in (blobs / ".partial").glob("*")]
    executors = instance.executors or {settings["ANNALS_EXECUTOR_URLS"]: instance.data}
    for url, told in work(*executors).items():
        found += _unaccounted(url, executors[url], told)
    return found + list(strays(*executors.values()))


def work(*urls: str) -> dict[str, dict[str, int] | str]:
    """What executors count, by their addresses; a sentence of one that cannot be asked."""

    async def ask() -> Mapping[str, Status | str]:
        client = ExecutorClient(urls)
        try:
            return await client.status()
        finally:
            await client.close()

    return {url: one.work if isinstance(one, Status) else one for url, one in asyncio.run(ask()).items()}


def _unaccounted(url: str, data: Path, told: Mapping[str, int] | str) -> Iterator[str]:
    if isinstance(told, str):
        yield told
        return
    ids = kept(data)
    if sum(told[name] for name in HELD) != len(ids) or any(told[name] for name in RESTS):
        yield f"the executor at {url} counts {told}, and there are {sorted(ids)}"
    keeper = listener(url)
    users = {one.user for one in processes() if one.keeper == keeper}
    if len(users) > len(ids):
        yield f"processes of {sorted(users)} below the executor at {url}, and there are {sorted(ids)}"
    yield from beyond(data, ids)
