"""The supervisor of an instance: start, errors at the start, killed processes, restart and orderly stop."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from annals.http.listening import listen
from annals.supervisor.folders import POSTGRES_UID, Folders
from annals.supervisor.launch import launched
from tests.faults.stage import checked_instance
from tests.instance import AnnalsInstance, alive, annals, eventually, plain

pytestmark = pytest.mark.timeout(600)
ROLES = ("postgres", "valkey", "nursery", "executor", "api1", "api2", "worker1", "keeper")


@pytest.fixture(scope="module")
def instance() -> Iterator[AnnalsInstance]:
    """Run an instance that several tests share; each test leaves it healthy."""
    with checked_instance() as running:
        yield running


def answers(instance: AnnalsInstance) -> bool:
    return health(instance.endpoint)


def health(endpoint: str) -> bool:
    try:
        with urlopen(f"{endpoint}/health/version", timeout=60) as answer:  # noqa: S310 (our own)
            return bool(answer.status == 200)
    except URLError:
        return False


def test_up_prints_one_line_and_keeps_its_key_private(folder: Path) -> None:
    instance = AnnalsInstance.start(folder / "data", "--driver", "sandbox")
    assert set(instance.ready) == {"endpoint", "project", "key", "data", "driver", "database_url"}
    assert json.loads((instance.data / "key.json").read_bytes()) == {"project": instance.project, "key": instance.key}
    for name in ("key.json", "master.key"):
        assert stat.S_IMODE((instance.data / name).stat().st_mode) == 0o600
    assert answers(instance)

    instance.end()
    assert instance.rest == ""


def test_every_process_is_shown_and_a_second_instance_refused(instance: AnnalsInstance, folder: Path) -> None:
    rows = {row["role"]: row for row in instance.processes()}

    assert {*ROLES, "supervisor"} <= {*rows}
    assert all(row["state"] == "ready" and row["pid"] > 0 and row["host"] for row in rows.values())
    second = annals("up", "--port", "0", "--data", str(instance.data))
    assert second.returncode == 1
    assert f"pid {instance.process.pid}" in second.stderr
    port = instance.endpoint.split(":")[2].split("/")[0]
    taken = annals("up", "--port", port, "--data", str(folder / "other"))
    assert taken.returncode == 1
    assert f"Port {port}" in taken.stderr
    assert not Folders(folder / "other").sockets.exists()


def test_stop_leaves_no_process_or_socket_and_the_next_start_finds_all_data(folder: Path) -> None:
    first = AnnalsInstance.start(folder / "data", "--driver", "sandbox")
    sockets = Folders(first.data).sockets
    assert [*sockets.rglob("*")]
    made = json.loads(annals("projects", "create", "--id", "kept", "--json", "--data", str(first.data)).stdout)
    first.stop()
    assert not sockets.exists()

    again = AnnalsInstance.start(first.data, "--driver", "sandbox")
    listed = json.loads(annals("projects", "list", "--json", "--data", str(again.data)).stdout)
    again.stop()
    assert again.key == first.key
    assert made["id"] in [project["id"] for project in listed["projects"]]


def test_killed_process_is_restarted(instance: AnnalsInstance) -> None:
    for role in ROLES:
        pid = instance.pid_of(role)
        os.kill(pid, signal.SIGKILL)

        def back(role: str = role, pid: int = pid) -> bool:
            rows = [row for row in instance.processes() if row["role"] == role]
            return bool(rows) and rows[0]["pid"] != pid and rows[0]["state"] == "ready"

        eventually(back, 60)
    assert eventually(lambda: answers(instance))


def test_stuck_fork_server_is_replaced_and_roles_restart_without_it(instance: AnnalsInstance) -> None:
    before = {row["role"]: row["pid"] for row in instance.processes()}
    os.kill(before["nursery"], signal.SIGSTOP)  # alive, but it starts no process: the worst case
    os.kill(before["worker1"], signal.SIGKILL)

    def back() -> bool:
        rows = {row["role"]: row for row in instance.processes() if row["pid"] != before[row["role"]]}
        return {"worker1", "nursery"} <= {role for role, row in rows.items() if row["state"] == "ready"}

    eventually(back, 60)
    after = {row["role"]: row["pid"] for row in instance.processes()}
    untouched = {*ROLES} - {"nursery", "worker1"}
    assert {role: after[role] for role in untouched} == {role: before[role] for role in untouched}


def test_request_waits_while_every_api_process_is_down(instance: AnnalsInstance) -> None:
    for role in ("api1", "api2"):
        os.kill(instance.pid_of(role), signal.SIGKILL)

    assert answers(instance)


def test_killed_supervisor_ends_every_process_and_the_next_start_works(folder: Path) -> None:
    first = AnnalsInstance.start(folder / "data", "--driver", "sandbox")
    code, family = first.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    eventually(lambda: not alive(family))

    again = AnnalsInstance.start(first.data, "--driver", "sandbox")
    assert again.key == first.key
    again.stop()


def test_second_signal_ends_the_instance_at_once(folder: Path) -> None:
    running = AnnalsInstance.start(folder / "data", "--driver", "sandbox")
    family = running.family()
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGINT)
    running.process.wait(60)
    assert running.process.stdout is not None
    running.process.stdout.close()
    assert not alive(family)


def test_failed_preparation_ends_the_start_with_its_error(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "master.key").write_text("this is no key")

    done = annals("up", "--port", "0", "--data", str(folder / "data"))

    assert done.returncode == 1
    assert "prepare ended with exit code 1" in done.stderr
    assert f"{folder / 'data' / 'master.key'} does not hold a master key" in done.stderr
    assert "Traceback" not in done.stderr


def test_unwritable_data_folder_is_refused_with_advice() -> None:
    done = annals("up", "--port", "0", "--data", "/dev/full/data")

    assert done.returncode == 1
    assert "/dev/full/data: Not a directory. Choose a path below folders with --data." in done.stderr
    assert "Traceback" not in done.stderr


def test_executor_without_its_engine_advises_the_operator(folder: Path) -> None:
    nowhere = {"ANNALS_DATA": str(folder), "ANNALS_DRIVER": "docker", "ANNALS_DOCKER_HOST": f"unix://{folder}/none"}

    done = annals("executor", environment=nowhere)

    assert done.returncode == 1
    assert "Start Docker Engine" in done.stderr
    assert "ANNALS_DRIVER=sandbox" in done.stderr
    assert "Traceback" not in done.stderr


def test_external_services_are_used_and_none_is_embedded(instance: AnnalsInstance, folder: Path) -> None:
    running = Folders(instance.data).running()
    assert running is not None
    shared = ("ANNALS_DATABASE_URL", "ANNALS_REDIS_URL", "ANNALS_BLOBS_URL", "ANNALS_MASTER_KEY_FILE")
    settings = {name: running.settings[name] for name in shared if running.settings[name]}
    settings["ANNALS_MASTER_KEY_FILE"] = str(instance.data / "master.key")
    settings["ANNALS_BLOBS_URL"] = f"file://{instance.data}/blobs"

    second = AnnalsInstance.start(folder / "second", "--driver", "sandbox", environment=settings)

    roles = {row["role"] for row in second.processes() if row["state"]}
    keys = json.loads(annals("keys", "list", "--project", "default", "--json", "--data", str(instance.data)).stdout)
    second.stop()
    assert roles == {*ROLES, "supervisor"} - {"postgres", "valkey"}
    assert second.database_url == instance.database_url
    assert second.key != instance.key
    assert keys["total"] >= 2
    assert not (folder / "second" / "postgres").exists()


def test_every_role_starts_alone_configured_by_settings(instance: AnnalsInstance, folder: Path) -> None:
    running = Folders(instance.data).running()
    assert running is not None
    port = listen("127.0.0.1", 0)
    number = port.getsockname()[1]
    port.close()
    executor = {
        "ANNALS_DATA": str(folder / "other"),
        "ANNALS_EXECUTOR_LISTEN": f"unix:{folder}/other.sock",
        "ANNALS_DRIVER": "sandbox",
    }
    settings = {**running.settings, "ANNALS_PORT": str(number)}
    by_role = {
        role: subprocess.Popen(
            [sys.executable, "-m", "annals", role, "--json"], env=plain(env), stderr=subprocess.DEVNULL
        )
        for role, env in (("api", settings), ("worker", settings), ("keeper", settings), ("executor", executor))
    }
    second = subprocess.Popen([sys.executable, "-m", "annals", "api"], env=plain(settings), stderr=subprocess.DEVNULL)
    try:
        shown = {by_role["worker"].pid, by_role["keeper"].pid, by_role["api"].pid, second.pid}
        eventually(lambda: shown <= {row["pid"] for row in instance.processes()}, 60)
        eventually((folder / "other.sock").is_socket, 60)
        eventually(lambda: health(f"http://127.0.0.1:{number}/v1"), 60)
    finally:
        for process in (*by_role.values(), second):
            process.terminate()
        codes = [process.wait(60) for process in (*by_role.values(), second)]
    assert codes == [0] * 5
    assert not shown & {row["pid"] for row in instance.processes()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_ordinary_user_can_run_an_instance(folder: Path) -> None:
    user, home = 65534, folder / "home"
    home.mkdir()
    os.chown(home, user, user)

    def as_user(argv: list[str]) -> list[str]:
        argv[0] = os.path.realpath(argv[0]) if not os.access(argv[0], os.X_OK) else argv[0]
        return launched(argv, uid=user, reach=[sys.base_prefix, sys.prefix], end_by="SIGTERM")

    running = AnnalsInstance.start(
        home / "data",
        "--driver",
        "sandbox",
        environment={"HOME": str(home), "PYTHONPATH": os.pathsep.join(["."])},
        wrap=as_user,
    )
    try:
        assert {os.stat(f"/proc/{pid}").st_uid for pid in running.family()} == {user}
        assert answers(running)
    finally:
        running.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user it is the same as anywhere else")
def test_instance_below_a_closed_folder_changes_no_mode_of_other_folders(folder: Path) -> None:
    closed = Path("/root") / f"annals-test-{os.getpid()}"
    before = [(path, path.stat().st_mode) for path in (Path("/root"), Path("/"))]
    closed.mkdir(mode=0o700)
    try:
        running = AnnalsInstance.start(closed / "data", "--driver", "sandbox")
        postgres = running.pid_of("postgres")
        assert os.stat(f"/proc/{postgres}").st_uid == POSTGRES_UID
        assert answers(running)
        running.stop()
        assert [(path, path.stat().st_mode) for path, _ in before] == before
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        shutil.rmtree(closed)


@pytest.mark.parametrize("word", ["version", "--help"])
def test_help_and_version_load_no_heavy_library(word: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "annals", word]
    import_times = subprocess.run(command, check=True, capture_output=True, text=True).stderr

    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in import_times.splitlines()}
    assert "annals" in loaded
    assert not loaded & {"dramatiq", "eventsourcing", "httpx", "litestar", "psycopg", "pydantic", "redis"}
