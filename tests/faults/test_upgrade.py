"""The former release and this version on one database, at once and one after the other, under load."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from annals.http.listening import listen
from annals.store.postgres.migrate import available
from annals.supervisor.folders import Folders
from tests.client import Client
from tests.faults import invariants, release
from tests.faults.steady_load import Load
from tests.instance import AnnalsInstance, annals, eventually, plain
from tests.integration.postgres import Postgres
from tests.integration.workers.valkey import Valkey

pytestmark = pytest.mark.timeout(240)
HELLO = "module.exports = async ({ res }) => res.text('hello')"
TOGETHER = 150
"""The number of requests that each version answers while both run."""


@contextmanager
def services(blobs: Path) -> Iterator[dict[str, str]]:
    """Run Postgres and Valkey outside the instances, so that they outlive them, and yield their settings."""
    with ExitStack() as stack:
        postgres, valkey = Postgres(), Valkey()
        postgres.start()
        stack.callback(postgres.close)
        valkey.start()
        stack.callback(valkey.close)
        yield {
            "ANNALS_DATABASE_URL": postgres.url(),
            "ANNALS_REDIS_URL": valkey.url,
            "ANNALS_BLOBS_URL": f"file://{blobs}",
            "ANNALS_LEASE_S": "4",
        }


@contextmanager
def roles(settings: Mapping[str, str], folder: Path, *names: str) -> Iterator[str]:
    """Run processes of this version, each started alone, and yield the endpoint of the API process among them."""
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    socket = f"unix:{folder}/newer.sock"
    executor = {"ANNALS_DATA": str(folder / "newer"), "ANNALS_EXECUTOR_LISTEN": socket, "ANNALS_DRIVER": "sandbox"}
    executor["ANNALS_BLOBS_URL"] = settings["ANNALS_BLOBS_URL"]
    others = {**settings, "ANNALS_PORT": str(port)}
    others["ANNALS_EXECUTOR_URLS"] = f"{settings['ANNALS_EXECUTOR_URLS']},{socket}"
    endpoint = f"http://127.0.0.1:{port}/v1"
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(role(name, executor if name == "executor" else others, folder / "newer.log"))
        eventually(lambda: answers(endpoint), 60)
        yield endpoint


@contextmanager
def role(name: str, settings: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run one process of this version, and yield its pid."""
    command = [sys.executable, "-m", "annals", name, "--json"]
    with log.open("a") as writing:
        process = subprocess.Popen(command, env=plain(settings), stderr=writing)
    try:
        yield process.pid
    finally:
        process.terminate()
        assert process.wait(60) == 0


def answers(endpoint: str) -> bool:
    try:
        return httpx.get(f"{endpoint}/health/version", timeout=5).is_success
    except httpx.TransportError:
        return False


def start_former(code: Path, folder: Path, outside: Mapping[str, str]) -> AnnalsInstance:
    """Start an instance of a former release."""
    environment = {**outside, "PYTHONPATH": str(code)}
    options = ("--driver", "sandbox")
    former = AnnalsInstance.start(folder / "data", *options, environment=environment, wrap=release.within(code))
    former.leaves_groups = True
    return former


def leads(database_url: str) -> int | None:
    """Return the pid of the keeper that leads, or None."""
    with psycopg.connect(database_url) as conn:
        row = conn.execute("SELECT pid FROM leases WHERE role = 'keeper' AND doing = 'leads'").fetchone()
    return None if row is None else int(row[0])


def stopped(database_url: str) -> str:
    """Return the errors of stopped followers."""
    with psycopg.connect(database_url) as conn:
        return " ".join(row[0] for row in conn.execute("SELECT error FROM checkpoints"))


def without(topic: str, code: Path) -> None:
    """Rename an event's topic in a release, so that the topic is unknown there."""
    for path in (code / "annals" / "domain").glob("*.py"):
        path.write_text(path.read_text().replace(f'"{topic}"', f'"{topic}.formerly"'))


def test_former_keeper_yields_to_the_newer_on_an_unknown_event_and_nothing_is_lost(folder: Path) -> None:
    """The newer API runs before the keeper is replaced, against the instructions for upgrades; this costs a wait."""
    former_code = release.unpacked(release.newest(), folder)
    without("function.policy_changed", former_code)
    with services(folder / "blobs") as outside:
        former = start_former(former_code, folder, outside)
        client = Client(former.endpoint, former.headers)
        client.function("hello", HELLO)
        client.function("other", HELLO)
        running = Folders(former.data).running()
        assert running is not None
        load = Load(former, requests_a_second=40, clients=4)
        with load.running():
            assert annals("prepare", "--stage", "pre", environment=running.settings).returncode == 0
            with roles(running.settings, folder, "executor", "worker", "api") as endpoint:
                newer_api = Client(endpoint, former.headers)
                newer_api.call("PUT", "/functions/other/policy", json={"scaling": {"minWarm": 1}})
                eventually(lambda: client.http.get("/health/ready").status_code == 503)
                assert "UnknownTopic" in stopped(former.database_url)
                late = client.execute("hello", **{"async": True})["$id"]
                with role("keeper", running.settings, folder / "newer.log") as keeper:
                    eventually(lambda: leads(former.database_url) == keeper)
                    eventually(lambda: client.execution("hello", late)["status"] == "completed")
                    eventually(lambda: client.http.get("/health/ready").status_code == 200)
                    before = load.answered
                    eventually(lambda: load.answered > before + TOGETHER)
                    load.end()
                    former.stop()
        assert load.failed == []
        newer = AnnalsInstance.start(former.data, "--driver", "sandbox", environment=outside)
        try:
            invariants.check_all(newer)
            ends = invariants.executions(newer)
            assert ends["execution.completed"] == ends["execution.requested"] > len(load.asynchronous_ids)
        finally:
            newer.stop()


def applied(database_url: str) -> int:
    with psycopg.connect(database_url) as conn:
        row = conn.execute("SELECT max(number) FROM schema_migrations").fetchone()
    assert row is not None
    return int(row[0])


def test_two_versions_serve_together_and_the_newer_takes_over_without_a_failed_call(folder: Path) -> None:
    former_code = release.unpacked(release.newest(), folder)
    with services(folder / "blobs") as outside:
        former = start_former(former_code, folder, outside)
        assert applied(former.database_url) == release.migrations(former_code)
        client = Client(former.endpoint, former.headers)
        client.function("hello", HELLO)
        recorded = client.execution("hello", client.execute("hello")["$id"])
        running = Folders(former.data).running()
        assert running is not None

        before = Load(former, requests_a_second=80, clients=4, name="before")
        with before.running():
            done = annals("prepare", "--stage", "pre", environment=running.settings)
            assert done.returncode == 0, done.stderr
            with roles(running.settings, folder, "executor", "keeper", "worker", "api") as endpoint:
                after = Load(former, requests_a_second=80, clients=4, name="after", endpoint=endpoint)
                with after.running():
                    both = before.answered
                    eventually(lambda: min(after.answered, before.answered - both) > TOGETHER, 60)
                    before.end()
                    former.stop()
                    alone = after.answered
                    eventually(lambda: after.answered > alone + TOGETHER, 60)

        assert before.failed + after.failed == []
        newer = AnnalsInstance.start(former.data, "--driver", "sandbox", environment=outside)
        try:
            assert applied(newer.database_url) == available()[-1].number
            again = Client(newer.endpoint, newer.headers)
            assert again.execution("hello", recorded["$id"]) == recorded
            assert again.execute("hello")["responseBody"] == "hello"
            invariants.check_all(newer)
            ends = invariants.executions(newer)
            accepted = len(before.asynchronous_ids) + len(after.asynchronous_ids)
            assert ends["execution.completed"] == ends["execution.requested"] > accepted
        finally:
            newer.stop()
