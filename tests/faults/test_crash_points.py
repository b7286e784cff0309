"""Processes killed between two steps, before the append; and all processes at once, with their run folders wiped."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.log.append_modes import LOCK
from annals.store.postgres.database import Database
from annals.supervisor.folders import Folders
from annals.workers.cleanup import BlobGarbage
from tests.client import Client, packed
from tests.faults import invariants
from tests.instance import AnnalsInstance, alive, eventually, short_folder

pytestmark = pytest.mark.timeout(300)
SETTINGS = {"ANNALS_LEASE_S": "3", "ANNALS_WORKERS": "2"}
HELLO = "module.exports = ({ res }) => res.text('hello');"
SLOW = (
    "module.exports = async ({ res }) => { await new Promise((r) => setTimeout(r, 3000)); return res.text('slow'); };"
)
ENDLESS = "module.exports = async () => { await new Promise((r) => setTimeout(r, 90000)); };"
TAKEN_UP_SECONDS = 60
WAITING = "SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
END_OF_APIS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'annals api%'"


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder / "data"


@contextmanager
def running(data: Path) -> Iterator[tuple[AnnalsInstance, Client]]:
    """Run the instance of a data folder, and stop it in order unless the test has killed it."""
    instance = AnnalsInstance.start(data, "--driver", "sandbox", environment=SETTINGS)
    try:
        yield instance, Client(instance.endpoint, instance.headers)
    finally:
        instance.stop()


@contextmanager
def no_appends(instance: AnnalsInstance) -> Iterator[psycopg.Connection]:
    """Hold the lock of appends, so that every append waits while inside."""
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        yield conn


def apis_of(instance: AnnalsInstance) -> list[int]:
    return [row["pid"] for row in instance.processes() if row["role"].startswith("api")]


def sources(data: Path) -> set[Path]:
    return set((data / "blobs" / "sources").rglob("*.gz"))


def test_source_of_an_unrecorded_deployment_is_never_served_and_is_deleted(data: Path) -> None:
    with running(data) as (instance, client), ThreadPoolExecutor(1) as pool:
        client.function("hello", HELLO)
        client.function("slow", SLOW, timeout=20)
        before = sources(data)
        known = client.call("GET", "/functions/hello/deployments")
        code = {"code": ("code.tar.gz", packed({"index.js": HELLO + "// 2"}), "application/gzip")}

        apis = apis_of(instance)

        def upload() -> httpx.Response:
            return client.http.post("/functions/hello/deployments", files=code, data={"activate": "true"})

        with no_appends(instance) as conn:
            uploading = pool.submit(upload)
            (orphan,) = eventually(lambda: sources(data) - before)
            for pid in apis:
                os.kill(pid, signal.SIGKILL)
            conn.execute(END_OF_APIS)
        error = uploading.exception()
        status = 503 if error else uploading.result().status_code
        assert (status, isinstance(error, httpx.TransportError | None)) == (503, True), error

        eventually(lambda: answers(client), TAKEN_UP_SECONDS)
        assert client.call("GET", "/functions/hello/deployments") == known
        again = upload()
        assert again.status_code == 202, again.text
        client.ready("hello", again.json()["$id"])
        assert client.execute("hello")["responseBody"] == "hello"
        asyncio.run(sweep(instance))
        assert not orphan.exists()
        assert len(sources(data)) == len(before) + 1
        assert client.http.get(f"/functions/hello/deployments/{again.json()['$id']}/download").status_code == 200
        invariants.check_all(instance)


def test_request_whose_api_dies_before_the_append_leaves_nothing_and_succeeds_on_retry(data: Path) -> None:
    requests: tuple[tuple[str, dict[str, Any], dict[str, str]], ...] = (
        ("/functions", {"functionId": "unmade", "name": "n", "runtime": "node-22"}, {"idempotency-key": "made"}),
        ("/functions/hello/executions", {"path": "/short"}, {}),
        ("/functions/slow/executions", {"path": "/long"}, {"idempotency-key": "called"}),
    )
    with running(data) as (instance, client):
        for path, sent, headers in requests:
            pids = apis_of(instance)
            before = recorded(instance)

            with ThreadPoolExecutor(1) as pool, no_appends(instance) as conn:
                asking = pool.submit(client.http.post, path, json=sent, headers=headers)
                eventually(lambda conn=conn: conn.execute(WAITING).fetchone())  # type: ignore[misc]
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                error = asking.exception()
                assert isinstance(error, httpx.TransportError), error
                conn.execute(END_OF_APIS)

            eventually(lambda: answers(client), TAKEN_UP_SECONDS)
            assert recorded(instance) == before
            again = client.http.post(path, json=sent, headers=headers)
            assert (again.status_code, again.json().get("status", "completed")) == (201, "completed"), again.text
            assert recorded(instance) > before
        for path, sent, _ in requests[1:]:
            made = client.call("GET", path)["executions"]
            assert [one["status"] for one in made if one["requestPath"] == sent["path"]] == ["completed"]
        invariants.check_all(instance)


def test_accepted_work_ends_after_a_power_cut_that_wipes_run_folders(data: Path) -> None:
    with running(data) as (instance, client):
        client.function("endless", ENDLESS, timeout=100)
        cut_short = [client.execute("endless", **{"async": True})["$id"] for _ in range(2)]
        built = {"functionId": "built", "name": "built", "runtime": "node-22", "entrypoint": "index.js"}
        client.call("POST", "/functions", json={**built, "commands": "echo begun; sleep 4"})
        build = client.deploy("built", {"index.js": HELLO})
        eventually(lambda: all(client.execution("endless", one)["status"] == "processing" for one in cut_short))
        eventually(lambda: "begun" in client.deployment("built", build)["buildLogs"])
        made = [("hello", client.execute("hello", **{"async": True})["$id"]) for _ in range(10)]
        assert client.deployment("built", build)["status"] == "building"
        family = instance.cut()
        eventually(lambda: not alive(family), TAKEN_UP_SECONDS)
    for wiped in (data / "run", data / "work", Folders(data).sockets):
        assert wiped.is_dir()
        shutil.rmtree(wiped)

    with running(data) as (instance, client):
        client.ready("built", build)
        assert recorded(instance, "deployment.build_claimed", build) == 2
        eventually(lambda: ended(client, made) == len(made), TAKEN_UP_SECONDS, explain=lambda: ended(client, made))
        for one in cut_short:
            eventually(lambda one=one: "lost" in client.execution("endless", one)["errors"], TAKEN_UP_SECONDS)  # type: ignore[misc]
        assert client.execute("hello")["responseBody"] == "hello"
        invariants.check_all(instance)


def recorded(instance: AnnalsInstance, topic: str = "", own_id: str = "") -> int:
    """Return the number of events in the log: all of them, or of one topic in the streams of one id."""
    with psycopg.connect(instance.database_url) as conn:
        query = "SELECT count(*) FROM events WHERE topic LIKE %s AND originator_id LIKE %s"
        row = conn.execute(query, (topic or "%", f"%:{own_id}" if own_id else "%")).fetchone()
    assert row is not None
    return int(row[0])


def ended(client: Client, made: list[tuple[str, str]]) -> int:
    """Return how many of these executions have ended."""
    return sum(client.execution(*one)["status"] in {"completed", "failed"} for one in made)


def answers(client: Client) -> bool:
    try:
        return client.http.get("/health").status_code == 200
    except httpx.TransportError:
        return False


async def sweep(instance: AnnalsInstance) -> None:
    """Delete garbage blobs as the keeper does, as if two hours had passed."""
    database = await Database.open(instance.database_url, size=2)
    try:
        contents = Contents(database, Blobs.open(instance.data / "blobs"))
        await BlobGarbage(database, contents, grace=timedelta(hours=1)).sweep(datetime.now(UTC) + timedelta(hours=2))
    finally:
        await database.close()
