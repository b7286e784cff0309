"""The restore of a running instance's backup: the new instance serves the same data, and starts no schedule."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.client import Client
from tests.instance import AnnalsInstance, annals, eventually, short_folder

CODE = "export default async ({ res }) => res.text('restored ' + process.env.WORD);"


@pytest.fixture
def another(annals_instance: AnnalsInstance) -> Iterator[AnnalsInstance]:
    """Run a new instance with the same master key, whose first events are already sealed and signed."""
    with short_folder() as folder:
        data = folder / "data"
        data.mkdir(mode=0o700)
        shutil.copy(annals_instance.data / "master.key", data)
        instance = AnnalsInstance.start(data, "--driver", "sandbox", environment={"ANNALS_CHECKPOINT_S": "1"})
        try:
            eventually((data / "blobs" / "seal" / "latest").exists)
            yield instance
        finally:
            instance.stop()


def test_restored_instance_serves_the_backed_up_data(
    annals_instance: AnnalsInstance, another: AnnalsInstance, tmp_path: Path
) -> None:
    here = Client(annals_instance.endpoint, annals_instance.headers)
    here.function("kept", CODE, schedule="* * * * *")
    variable = {"key": "WORD", "value": "whole", "secret": True, "variableId": "unique()"}
    here.call("POST", "/functions/kept/variables", json=variable)
    before = here.call("GET", "/functions/kept")
    backup = annals("backup", "--output", str(tmp_path / "b.zst"), "--data", str(annals_instance.data), "--json")
    assert backup.returncode == 0, backup.stderr

    key = json.loads(backup.stdout)["key"]
    restored = annals("restore", str(tmp_path / "b.zst"), "--key", key, "--data", str(another.data), "--json")

    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["schedulesHeld"] is True
    there = Client(another.endpoint, annals_instance.headers)  # the API keys come from the restored log
    volatile = {"scheduleNext", "schedulePrevious"}
    now = there.call("GET", "/functions/kept")
    assert {k: v for k, v in now.items() if k not in volatile} == {k: v for k, v in before.items() if k not in volatile}
    assert there.execute("kept", method="GET")["responseBody"] == "restored whole"
    verified = annals("verify", "--contents", "--data", str(another.data), "--json")
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["contents"] >= 3  # a build's log, its source and its artefact
    eventually(lambda: httpx.get(f"{another.endpoint}/health/ready").status_code == 200)
    checked = annals("replay", "--check", "--data", str(another.data))
    assert checked.returncode == 0, checked.stdout
    own = annals("env", "--data", str(another.data))
    assert own.returncode == 1
    assert "annals keys create" in own.stderr  # the key of the first start is invalid now
    paused = annals("schedules", "--data", str(another.data))
    assert "annals schedules --start" in paused.stdout

    assert "Schedules run." in annals("schedules", "--start", "--data", str(another.data)).stdout

    def fired() -> bool:
        rows = there.call("GET", "/functions/kept/executions")["executions"]
        return any(row["trigger"] == "schedule" for row in rows)

    eventually(fired, 180)
    here.call("DELETE", "/functions/kept")
