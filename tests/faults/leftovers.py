"""The counts of an instance's executors, compared with the folders and processes on the host."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from annals.executor.wire.client import ExecutorClient
from annals.executor.wire.protocol import Status
from annals.supervisor.folders import Folders, Running
from tests.instance import AnnalsInstance
from tests.sandboxes import beyond, instance_ids, listener, processes, strays

KEPT_COUNTS = ("instances", "idle")
BUSY_COUNTS = ("executions", "builds", "starting", "in_flight", "waiting", "queued")
"""An executor counts the instances that it keeps, and its work in progress, which is zero when it is idle."""


def running(instance: AnnalsInstance) -> Running:
    """Return the state that a running instance publishes for other commands."""
    found = Folders(instance.data).running()
    assert found is not None
    return found


def leftovers(instance: AnnalsInstance) -> list[str]:
    """Return processes, mounts and files that belong to no instance that the executors count."""
    settings = running(instance).settings
    blobs = Path(unquote(urlsplit(settings["ANNALS_BLOBS_URL"]).path) or instance.data / "blobs")
    found = [str(path) for path in (blobs / ".partial").glob("*")]
    executors = instance.executors or {settings["ANNALS_EXECUTOR_URLS"]: instance.data}
    for url, counts in executor_counts(*executors).items():
        found += _unaccounted(url, executors[url], counts)
    return found + list(strays(*executors.values()))


def executor_counts(*urls: str) -> dict[str, dict[str, int] | str]:
    """Return the counts of executors by address, or an error message for an executor that does not answer."""

    async def ask() -> Mapping[str, Status | str]:
        client = ExecutorClient(urls)
        try:
            return await client.status()
        finally:
            await client.close()

    return {url: status.work if isinstance(status, Status) else status for url, status in asyncio.run(ask()).items()}


def _unaccounted(url: str, data: Path, counts: Mapping[str, int] | str) -> Iterator[str]:
    if isinstance(counts, str):
        yield counts
        return
    ids = instance_ids(data)
    if sum(counts[name] for name in KEPT_COUNTS) != len(ids) or any(counts[name] for name in BUSY_COUNTS):
        yield f"the executor at {url} counts {counts}, but its instances are {sorted(ids)}"
    executor = listener(url)
    users = {process.user for process in processes() if process.executor == executor}
    if len(users) > len(ids):
        yield f"the executor at {url} has processes of users {sorted(users)}, but its instances are {sorted(ids)}"
    yield from beyond(data, ids)
