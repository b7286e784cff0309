"""Full disks, damaged blobs and half-written files: requests fail with a reason, and the instance recovers."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from annals.supervisor.children import children_of
from tests.client import Client, packed
from tests.faults import canaries, invariants
from tests.instance import AnnalsInstance, eventually, short_folder

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system"),
]
HELLO = "module.exports = async ({ res }) => res.text('hello')"
CHATTY = """
module.exports = async ({ req, res, log }) => {
  if (req.path === '/chatty') for (let n = 0; n < 500; n++) log('x'.repeat(1000));
  return res.text('hello');
};
"""
BACK_SECONDS = 90


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    """Run an instance whose data folder and blob store are small separate file systems."""
    with short_folder() as folder, small_disk(folder / "small", 400) as small, small_disk(small / "data/blobs", 40):
        running = AnnalsInstance.start(small / "data", "--driver", "sandbox", environment={"ANNALS_LEASE_S": "5"})
        try:
            canaries.plant(running)
            yield running
            invariants.check_all(running)
            canaries.check_unreadable(running)
        finally:
            running.stop()


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small file system in memory."""
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill a disk to the last block while inside."""
    ballast = disk / "ballast"
    try:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65536)
        assert shutil.disk_usage(disk).free < 65536
        yield
    finally:
        ballast.unlink()


def test_full_disk_answers_503_and_loses_no_acknowledged_write(instance: AnnalsInstance, client: Client) -> None:
    client.function("hello", HELLO)
    waiting = [client.execute("hello", **{"async": True})["$id"] for _ in range(5)]
    code = {"code": ("code.tar.gz", packed({"index.js": HELLO + "//" + "x" * 300_000}), "application/gzip")}
    answered: list[str] = []
    refused: list[httpx.Response] = []
    with full(instance.data):
        deadline = time.monotonic() + 8
        number = 0
        while time.monotonic() < deadline:
            number += 1
            name = {"functionId": f"full-{number}", "name": "n" * 120, "runtime": "node-22"}
            made = client.http.post("/functions", json=name)
            if made.is_success:
                answered.append(f"full-{number}")
            else:
                refused.append(made)
            if number % 20 == 1:
                upload = client.http.post("/functions/hello/deployments", files=code, data={"activate": "false"})
                if not upload.is_success:
                    refused.append(upload)

    assert refused, "the disk was not full"
    assert {(answer.status_code, "retry-after" in answer.headers) for answer in refused} == {(503, True)}, [
        answer.text for answer in refused if answer.status_code != 503
    ]
    eventually(
        lambda: (
            client.http.post(
                "/functions", json={"functionId": "unique()", "name": "n", "runtime": "node-22"}
            ).status_code
            == 201
        ),
        BACK_SECONDS,
    )
    assert [name for name in answered if client.http.get(f"/functions/{name}").status_code != 200] == []
    for one in waiting:
        eventually(lambda one=one: client.execution("hello", one)["status"] == "completed", BACK_SECONDS)  # type: ignore[misc]
    eventually(lambda: client.execute("hello")["responseBody"] == "hello", BACK_SECONDS)


def test_full_blob_store_refuses_only_uploads(instance: AnnalsInstance, client: Client) -> None:
    client.function("stored", CHATTY)
    deployment = client.call("GET", "/functions/stored")["deploymentId"]
    code = {"code": ("code.tar.gz", packed({"index.js": HELLO + "// another"}), "application/gzip")}

    def upload() -> httpx.Response:
        return client.http.post("/functions/stored/deployments", files=code, data={"activate": "true"})

    with full(instance.data / "blobs"):
        refused = upload()
        made = client.http.post("/functions", json={"functionId": "beside", "name": "n", "runtime": "node-22"})
        read = client.http.get(f"/functions/stored/deployments/{deployment}/download")
        called = client.execute("stored")
        later = client.execute("stored", **{"async": True})["$id"]
        eventually(lambda: client.execution("stored", later)["status"] == "completed", BACK_SECONDS)
        chatty = client.execute("stored", path="/chatty")

    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True), refused.text
    assert (made.status_code, read.status_code, called["responseBody"]) == (201, 200, "hello")
    assert (chatty["status"], chatty["responseBody"]) == ("completed", "hello")
    assert "could not be kept" in client.execution("stored", chatty["$id"])["errors"]
    again = upload()
    assert again.status_code == 202, again.text
    client.ready("stored", again.json()["$id"])
    assert client.execute("stored")["responseBody"] == "hello"


def test_process_that_dies_on_a_full_disk_restarts_once(instance: AnnalsInstance, client: Client) -> None:
    before = set(children_of(instance.process.pid))
    killed = [instance.pid_of(role) for role in ("valkey", "worker1")]
    with full(instance.data):
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not before & set(killed) & set(children_of(instance.process.pid)))
        eventually(lambda: len(children_of(instance.process.pid)) == len(before))

    def whole() -> bool:
        rows = {row["role"]: row for row in instance.processes()}
        return {"valkey", "worker1"} <= rows.keys() and all(row["state"] == "ready" for row in rows.values())

    eventually(whole, BACK_SECONDS)
    assert len(children_of(instance.process.pid)) == len(before)
    client.function("after", HELLO)
    one = client.execute("after", **{"async": True})["$id"]
    eventually(lambda: client.execution("after", one)["status"] == "completed", BACK_SECONDS)


def test_damaged_artefact_is_never_run(instance: AnnalsInstance, client: Client) -> None:
    client.function("damaged", HELLO)
    assert client.execute("damaged")["responseBody"] == "hello"
    for artefact in (instance.data / "blobs" / "artefacts").rglob("*.tar.gz"):
        content = bytearray(artefact.read_bytes())
        content[len(content) // 2] ^= 0xFF
        artefact.write_bytes(content)
    os.kill(instance.pid_of("executor"), signal.SIGKILL)  # its unpacked artefacts go with it

    def ran() -> dict[str, object]:
        made = client.execute("damaged")
        return made if "could not be reached" not in made["errors"] else {}

    failed = eventually(ran, BACK_SECONDS)
    assert (failed["status"], failed["responseBody"]) == ("failed", "")
    assert "digest" in str(failed["errors"]).lower() or "artefact" in str(failed["errors"]).lower(), failed


def test_partial_blob_of_a_killed_process_is_deleted(instance: AnnalsInstance, client: Client) -> None:
    left = instance.data / "blobs" / ".partial" / ("0" * 32)
    left.write_bytes(b"half a blob")
    os.utime(left, (time.time() - 60, time.time() - 60))

    eventually(lambda: not left.exists(), BACK_SECONDS)
