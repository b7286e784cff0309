"""Every descriptor of a start is closed by its owner, whether the sandbox starts or not."""

import os
import socket
from pathlib import Path

import pytest

from annals.executor.drivers.descriptors import StartDescriptors, listening_socket


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_successful_start_closes_the_child_ends_and_keeps_the_executors_open() -> None:
    before = open_descriptors()
    with StartDescriptors() as descriptors:
        output = descriptors.from_child()
        commands = descriptors.to_child()
        descriptors.memory_file("rules", b"content")
        descriptors.release()

    assert len(open_descriptors()) == len(before) + 2
    assert os.read(output.read, 1) == b"", "its writer is closed"
    with pytest.raises(BrokenPipeError):
        os.write(commands.write, b"x")
    os.close(output.read)
    os.close(commands.write)


def test_failed_start_closes_every_descriptor_and_undoes_the_rest_last_step_first() -> None:
    before = len(open_descriptors())
    undone: list[str] = []

    def start() -> None:
        with StartDescriptors() as descriptors:
            descriptors.on_failure(lambda: undone.append("group"))
            descriptors.on_failure(lambda: undone.append("network"))
            descriptors.from_child(terminal=True)
            descriptors.to_child()
            descriptors.memory_file("words", b"--clearenv")
            raise OSError("no process")

    with pytest.raises(OSError, match="no process"):
        start()

    assert len(open_descriptors()) == before
    assert undone == ["network", "group"]


def test_child_inherits_only_the_descriptors_that_it_needs_by_number() -> None:
    with StartDescriptors() as descriptors:
        output = descriptors.from_child()
        alive = descriptors.from_child(inherit=True)
        commands = descriptors.to_child()
        rules = descriptors.memory_file("rules", b"content")

        assert descriptors.inherited == [alive.write, commands.read, rules]
        assert output.write not in descriptors.inherited
        assert os.read(rules, 100) == b"content"


def test_listening_socket_that_cannot_be_bound_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "http.sock").touch()
    before = len(open_descriptors())
    with pytest.raises(OSError, match="in use"):
        listening_socket(tmp_path, "http.sock")

    assert len(open_descriptors()) == before


def test_listening_socket_accepts_connections_by_its_path(tmp_path: Path) -> None:
    with listening_socket(tmp_path, "http.sock"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "http.sock"))
