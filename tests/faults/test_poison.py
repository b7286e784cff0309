"""An event that a projection cannot apply stops this projection visibly, and no other."""

import os
import signal
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from tests.faults.stage import Stage, staged
from tests.instance import annals, eventually

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("invariants_hold")]
BACK_SECONDS = 90
HELLO = "module.exports = async ({ res }) => res.text('hello')"
POISON = "ALTER TABLE audit ADD CONSTRAINT poison CHECK (resource_id <> 'poison') NOT VALID"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as made:
        made.client.function("hello", HELLO)
        yield made


def test_poisoned_event_stops_one_projection_with_an_alarm(stage: Stage) -> None:
    client = stage.client
    stage.postgres.execute(POISON)

    client.call("POST", "/functions", json={"functionId": "poison", "name": "n", "runtime": "node-22"})

    stopped = eventually(lambda: stopped_followers(stage), BACK_SECONDS)
    assert stopped == ["audit"]
    assert "poison" in stage.instance.log.read_text()
    assert client.http.get("/health/ready").status_code == 503
    metrics = f"{stage.instance.endpoint.removesuffix('/v1')}/metrics"
    eventually(lambda: 'annals_follower_stopped{name="audit"} 1' in httpx.get(metrics).text, BACK_SECONDS)
    doctor = annals("doctor", "--json", "--data", str(stage.instance.data))
    assert (doctor.returncode, "audit" in doctor.stdout) == (1, True), doctor.stdout
    later = client.execute("hello", **{"async": True})["$id"]  # the relay and the rest go on
    eventually(lambda: client.execution("hello", later)["status"] == "completed", BACK_SECONDS)

    stage.postgres.execute("ALTER TABLE audit DROP CONSTRAINT poison")
    os.kill(stage.instance.pid_of("keeper"), signal.SIGTERM)
    eventually(lambda: not stopped_followers(stage), BACK_SECONDS)


def stopped_followers(stage: Stage) -> list[str]:
    with psycopg.connect(stage.postgres.url()) as conn:
        return [row[0] for row in conn.execute("SELECT name FROM checkpoints WHERE error <> ''")]
