"""Killed between two steps: a source that is stored and not recorded; and everything at once, its run folders wiped."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from annals.app.cli.folders import Folders
from annals.store.blobs import Blobs
from annals.store.contents import Contents
from annals.store.database import Database
from annals.store.trips import LOCK
from annals.workers.litter import Litter
from tests.client import Client, packed
from tests.faults import invariants
from tests.instance import AnnalsInstance, alive, eventually, short_folder

pytestmark = pytest.mark.timeout(300)
SETTINGS = {"ANNALS_LEASE_S": "3", "ANNALS_WORKERS": "2"}
HELLO = "module.exports = ({ res }) => res.text('hello');"
SLOW = (
    "module.exports = async ({ res }) => { await new Promise((r) => setTimeout(r, 3000)); return res.text('slow'); };"
)
TAKEN_UP_SECONDS = 60


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder / "data"


@contextmanager
def running(data: Path) -> Iterator[tuple[AnnalsInstance, Client]]:
    """The instance of this data folder, stopped in order unless a test has killed it."""
    instance = AnnalsInstance.start(data, "--driver", "sandbox", environment=SETTINGS)
    try:
        yield instance, Client(instance.endpoint, instance.headers)
    finally:
        instance.stop()


@contextmanager
def no_appends(instance: AnnalsInstance) -> Iterator[psycopg.Connection]:
    """Whoever appends waits, as long as this goes on."""
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        yield conn


def sources(data: Path) -> set[Path]:
    return set((data / "blobs" / "sources").rglob("*.gz"))


def test_a_source_whose_deployment_was_never_recorded_is_served_to_nobody_and_swept(data: Path) -> None:
    with running(data) as (instance, client), ThreadPoolExecutor(1) as pool:
        client.function("hello", HELLO)
        client.function("slow", SLOW, timeout=20)
        before = sources(data)
        known = client.call("GET", "/functions/hello/deployments")
        code = {"code": ("code.tar.gz", packed({"index.js": HELLO + "// 2"}), "application/gzip")}

        apis = [instance.pid_of(role) for role in ("api1", "api2")]

        def upload() -> httpx.Response:
            return client.http.post("/functions/hello/deployments", files=code, data={"activate": "true"})

        with no_appends(instance) as conn:
            uploading = pool.submit(upload)
            (orphan,) = eventually(lambda: sources(data) - before)
            for pid in apis:
                os.kill(pid, signal.SIGKILL)
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'annals api%'"
            )
        error = uploading.exception()
        told = 503 if error else uploading.result().status_code
        assert (told, isinstance(error, httpx.TransportError | None)) == (503, True), error

        eventually(lambda: answers(client), TAKEN_UP_SECONDS)
        assert client.call("GET", "/functions/hello/deployments") == known
        again = upload()
        assert again.status_code == 202, again.text
        client.ready("hello", again.json()["$id"])
        assert client.execute("hello")["responseBody"] == "hello"
        asyncio.run(swept(instance))
        assert not orphan.exists()
        assert len(sources(data)) == len(before) + 1
        assert client.http.get(f"/functions/hello/deployments/{again.json()['$id']}/download").status_code == 200
        invariants.hold(instance)


def test_everything_killed_with_its_folders_of_the_moment_wiped_ends_what_was_accepted(data: Path) -> None:
    with running(data) as (instance, client):
        made = [("hello", client.execute("hello", **{"async": True})["$id"]) for _ in range(10)]
        made += [("slow", client.execute("slow", **{"async": True})["$id"]) for _ in range(2)]
        build = client.deploy("hello", {"index.js": HELLO + "// 3"})
        _, family = instance.end(signal.SIGKILL)
        eventually(lambda: not alive(family), TAKEN_UP_SECONDS)
    for wiped in (data / "run", data / "work", Folders(data).sockets):
        assert wiped.is_dir()
        shutil.rmtree(wiped)

    with running(data) as (instance, client):
        client.ready("hello", build)
        eventually(lambda: ended(client, made) == len(made), TAKEN_UP_SECONDS, explain=lambda: ended(client, made))
        assert client.execute("hello")["responseBody"] == "hello"
        invariants.hold(instance)


def ended(client: Client, made: list[tuple[str, str]]) -> int:
    """How many of some executions have."""
    return sum(client.execution(*one)["status"] in {"completed", "failed"} for one in made)


def answers(client: Client) -> bool:
    try:
        return client.http.get("/health").status_code == 200
    except httpx.TransportError:
        return False


async def swept(instance: AnnalsInstance) -> None:
    """What the keeper's clock does, as if hours had passed."""
    database = await Database.open(instance.database_url, size=2)
    try:
        contents = Contents(database, Blobs.open(instance.data / "blobs"))
        await Litter(database, contents, grace=timedelta(hours=1)).sweep(datetime.now(UTC) + timedelta(hours=2))
    finally:
        await database.close()
