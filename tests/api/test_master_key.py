"""The rotation of the master key while functions read secrets; no process starts with another master key."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from annals.store.secrets.vault import master_key
from tests.client import Client
from tests.instance import AnnalsInstance, annals

CODE = "module.exports = async ({ res }) => res.text(process.env.SECRET)"
SECRET = "kept through a rotation"


@pytest.mark.timeout(300)
def test_secrets_are_served_throughout_a_rotation(annals_instance: AnnalsInstance) -> None:
    client = Client(annals_instance.endpoint, annals_instance.headers)
    function = client.function("rotated", CODE)
    client.call("POST", f"/functions/{function}/variables", json={"key": "SECRET", "value": SECRET})
    before = (annals_instance.data / "master.key").read_bytes()
    over = Event()

    def serve() -> int:
        served = 0
        while not over.is_set() or not served:
            number = str(served)  # a new variable is sealed and read during the rotation
            client.call("POST", f"/functions/{function}/variables", json={"key": f"V{number}", "value": number})
            assert client.execute(function)["responseBody"] == SECRET
            served += 1
        return served

    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        try:
            rotated = annals("keys", "rotate-master", "--json", "--data", str(annals_instance.data))
        finally:
            over.set()
        assert serving.result(150)
    assert rotated.returncode == 0, rotated.stderr
    report = json.loads(rotated.stdout)
    assert report["dataKeys"] >= 1
    assert Path(report["former"]).read_bytes() == before
    assert before not in (annals_instance.data / "master.key").read_bytes()
    assert client.execute(function)["responseBody"] == SECRET
    checked = annals("prepare", environment=_settings(annals_instance, annals_instance.data / "master.key"))
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("role", ["prepare", "api", "worker"])
def test_process_refuses_to_start_with_another_master_key(
    annals_instance: AnnalsInstance, tmp_path: Path, role: str
) -> None:
    client = Client(annals_instance.endpoint, annals_instance.headers)
    client.call("POST", "/project/variables", json={"key": f"{role.upper()}_SEALED", "value": "x"})

    key = tmp_path / "another.key"

    missing = annals(role, environment=_settings(annals_instance, key))
    left = key.exists()
    master_key(key)
    refused = annals(role, environment=_settings(annals_instance, key))

    assert (missing.returncode, refused.returncode, left) == (1, 1, False)
    assert f"There is no master key at {key}" in missing.stderr
    assert "The master key does not open this database's data keys." in refused.stderr
    assert "Traceback" not in missing.stderr + refused.stderr


def _settings(instance: AnnalsInstance, key: Path) -> dict[str, str]:
    return {
        "ANNALS_DATA": str(instance.data),
        "ANNALS_DATABASE_URL": instance.database_url,
        "ANNALS_MASTER_KEY_FILE": str(key),
        "ANNALS_PORT": "0",
        "ANNALS_EXECUTOR_URLS": "unix:/nowhere",
    }
