"""The notifications of a process to its supervisor, which may be slow or blocked."""

import socket
from pathlib import Path

import pytest

from annals.supervisor.notify import keep_health_file, notify

FULL = 10_000
"""More than a socket's queue holds."""


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    path = tmp_path / "notify.sock"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(path))
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    return listening


def test_notification_arrives_with_the_sender_pid(supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: 7)
    notify(READY="1", STATUS="idle")
    assert supervisor.recv(4096) == b"READY=1\nSTATUS=idle\nMAINPID=7"


@pytest.mark.timeout(60)
def test_notify_does_not_wait_for_a_blocked_supervisor(supervisor: socket.socket) -> None:
    for _ in range(FULL):
        notify(STATUS="idle")
    assert supervisor.recv(4096)


def test_health_file_is_there_while_the_process_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annals.supervisor.notify._health_file", None)
    path = tmp_path / "health"
    path.write_text("of an earlier process")

    keep_health_file(path)
    assert not path.exists()
    notify(STATUS="starts")
    assert not path.exists()
    notify(READY="1", STATUS="idle")
    assert path.read_text() == "idle\n"
    notify(STOPPING="1")
    assert not path.exists()
