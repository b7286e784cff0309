"""The embedded services: durable, private, and running again after a crash."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from annals.supervisor import wheels
from annals.supervisor.folders import Folders
from annals.supervisor.launch import launched
from annals.supervisor.postgres import Postgres
from annals.supervisor.valkey import Valkey
from annals.supervisor.wheels import Programs, Unusable

ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not ROOT, reason="only root has other users' rights to give")
Start = Callable[[Postgres | Valkey], "subprocess.Popen[bytes]"]


@pytest.fixture
def folders() -> Iterator[Folders]:
    with tempfile.TemporaryDirectory(prefix="annals-test-", dir="/tmp") as name:
        found = Folders(Path(name) / "closed" / "data")
        found.data.parent.mkdir(mode=0o700)  # closed to other users, and the services must still reach it
        found.open()
        yield found
        found.clear()


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(service: Postgres | Valkey) -> "subprocess.Popen[bytes]":
        service.initialise()
        service.prepare()
        process = subprocess.Popen(
            launched(service.command, uid=service.folders.service_uid, reach=service.reach, end_by="SIGKILL"),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        running.append(process)
        deadline = time.monotonic() + 120
        while not service.ready():
            assert process.poll() is None, f"{service.role} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{service.role} is not ready"
            time.sleep(0.02)
        return process

    yield begin
    for process in running:
        process.send_signal(signal.SIGINT)
        process.wait(10)


def test_postgres_is_durable_and_reached_over_its_socket_alone(folders: Folders, start: Start) -> None:
    service = Postgres(folders)
    process = start(service)

    with psycopg.connect(service.url) as conn:
        shown = {
            name: conn.execute("SELECT setting FROM pg_settings WHERE name = %s", (name,)).fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "data_checksums")
        }
        owner = os.stat(f"/proc/{process.pid}").st_uid
    assert shown == {
        "fsync": ("on",),
        "synchronous_commit": ("on",),
        "full_page_writes": ("on",),
        "listen_addresses": ("",),
        "data_checksums": ("on",),
    }
    assert owner == (folders.service_uid if ROOT else os.geteuid())
    assert service.sockets.stat().st_mode & 0o077 == 0


@only_root
def test_other_users_and_other_roles_cannot_connect(folders: Folders, start: Start) -> None:
    service = Postgres(folders)
    start(service)

    with pytest.raises(psycopg.OperationalError, match=r"[Pp]eer authentication failed"):
        psycopg.connect(service.url.replace("annals@", "postgres@"))
    for uid in (65534, 61_234):
        child = os.fork()
        if child == 0:
            os.setuid(uid)
            try:
                psycopg.connect(service.url, connect_timeout=60)
            except psycopg.OperationalError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_restart_after_a_kill_loses_nothing(folders: Folders, start: Start) -> None:
    service = Postgres(folders)
    first = start(service)
    with psycopg.connect(service.url) as conn:
        conn.execute("CREATE TABLE kept (id int)")
        conn.execute("INSERT INTO kept VALUES (1)")
    first.kill()
    first.wait()
    pid_file = service.cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))  # the pid belongs to a stranger now: to us

    start(service)

    with psycopg.connect(service.url) as conn:
        assert conn.execute("SELECT id FROM kept").fetchall() == [(1,)]


def test_running_server_is_ended_before_a_new_one_starts(folders: Folders, start: Start) -> None:
    service = Postgres(folders)
    first = start(service)

    start(service)

    assert first.wait(5) is not None


def test_cluster_of_another_version_is_refused_with_the_next_step(folders: Folders) -> None:
    service = Postgres(folders)
    service.initialise()
    (service.cluster / "PG_VERSION").write_text("15\n")

    with pytest.raises(Unusable, match=r"PostgreSQL 15.*pg_dump"):
        service.initialise()


def test_interrupted_first_start_does_not_block_the_next(folders: Folders, start: Start) -> None:
    half = folders.data / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")

    start(Postgres(folders))

    assert not half.exists()


def installed(programs: Programs, where: Path, mode: int) -> Programs:
    """A copy of an installation, with no more rights than `mode` gives."""
    for part in programs.parts:
        shutil.copytree(programs.root / part, where / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for path in (where, *where.rglob("*")):
        path.chmod(path.stat().st_mode & mode)
    return Programs(where, programs.parts, programs.name)


@only_root
@pytest.mark.parametrize(("mode", "copied"), [(0o700, True), (0o755, False)])
def test_programs_closed_to_the_service_user_are_copied_or_reached(
    *, folders: Folders, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int, copied: bool
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    postgres = installed(wheels.postgres(), closed / "postgres", mode)
    valkey = installed(wheels.valkey(), closed / "valkey", mode)
    monkeypatch.setattr(wheels, "postgres", lambda: postgres)
    monkeypatch.setattr(wheels, "valkey", lambda: valkey)

    start(Postgres(folders))
    start(Valkey(folders))

    copies = {path.name for path in (folders.data / "programs").glob("*")}
    assert copies == ({postgres.name, valkey.name} if copied else set())


def test_valkey_stores_nothing_and_rejects_writes_when_full(folders: Folders, start: Start) -> None:
    service = Valkey(folders)
    process = start(service)

    with redis.Redis.from_url(service.url, decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
    assert os.stat(f"/proc/{process.pid}").st_uid == (folders.service_uid if ROOT else os.geteuid())
    process.terminate()
    process.wait(10)
    assert not service.ready()


def test_program_ends_with_its_parent_process(folders: Folders) -> None:
    service = Valkey(folders)
    service.initialise()
    service.prepare()
    child = os.fork()
    if child == 0:
        subprocess.Popen(
            launched(service.command, uid=folders.service_uid, reach=service.reach), stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not service.ready() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    deadline = time.monotonic() + 60
    while service.ready() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not service.ready()
