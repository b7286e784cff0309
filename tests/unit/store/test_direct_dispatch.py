"""Direct dispatch to a worker of the same host: notifications that may be lost."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from annals.store.coordination.direct_dispatch import (
    LONGEST,
    LOOK_SECONDS,
    DirectDispatch,
    DirectDispatcher,
    DispatchSocket,
    socket_prefix,
)

DIRECT_DISPATCH = DirectDispatch("execution:p:x1", 1, 7, "r1", b"\x01state", b"sealed")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def executors(tmp_path: Path) -> tuple[str, ...]:
    return (f"unix:{tmp_path}/executor.sock",)


async def received_by(*lists: list[DirectDispatch], count: int = 1) -> None:
    """Return when so many notifications were received in all."""
    async with asyncio.timeout(60):
        while sum(map(len, lists)) < count:
            await asyncio.sleep(0.001)


def opened(executors: tuple[str, ...], take: Callable[[DirectDispatch], None]) -> DispatchSocket:
    dispatch_socket = DispatchSocket.open(executors, take)
    assert dispatch_socket is not None
    return dispatch_socket


async def test_worker_receives_a_notification(executors: tuple[str, ...]) -> None:
    received: list[DirectDispatch] = []
    dispatch_socket, direct_dispatcher = opened(executors, received.append), DirectDispatcher(socket_prefix(executors))

    direct_dispatcher.send(DIRECT_DISPATCH)

    await received_by(received)
    assert received == [DIRECT_DISPATCH]
    dispatch_socket.close()
    direct_dispatcher.close()


async def test_workers_are_notified_in_turn(executors: tuple[str, ...]) -> None:
    first, second = list[DirectDispatch](), list[DirectDispatch]()
    dispatch_sockets = [opened(executors, first.append), opened(executors, second.append)]
    direct_dispatcher = DirectDispatcher(socket_prefix(executors))

    for _ in range(4):
        direct_dispatcher.send(DIRECT_DISPATCH)

    await received_by(first, second, count=4)
    assert (len(first), len(second)) == (2, 2)
    for dispatch_socket in dispatch_sockets:
        dispatch_socket.close()
    direct_dispatcher.close()


async def test_new_worker_is_found_and_stopped_worker_is_skipped(executors: tuple[str, ...]) -> None:
    clock, received = Clock(), list[DirectDispatch]()
    direct_dispatcher = DirectDispatcher(socket_prefix(executors), clock)
    direct_dispatcher.send(DIRECT_DISPATCH)  # no worker is there
    dispatch_socket = opened(executors, received.append)
    left = opened(executors, received.append)
    clock.now += LOOK_SECONDS
    direct_dispatcher.send(DIRECT_DISPATCH)
    await received_by(received)

    left.close()
    for _ in range(2):
        direct_dispatcher.send(DIRECT_DISPATCH)

    await received_by(received, count=3)
    dispatch_socket.close()
    direct_dispatcher.close()


async def test_socket_of_a_killed_worker_is_removed_by_the_next(executors: tuple[str, ...], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(f"{socket_prefix(executors)}dead")
    alive = opened(executors, lambda _: None)

    dispatch_socket = opened(executors, lambda _: None)

    assert not (tmp_path / "executor.sock.door-dead").exists()
    assert len(os.listdir(tmp_path)) == 2
    alive.close()
    dispatch_socket.close()
    assert os.listdir(tmp_path) == []


async def test_socket_is_accessible_to_its_owner_alone(executors: tuple[str, ...], tmp_path: Path) -> None:
    dispatch_socket = opened(executors, lambda _: None)

    (path,) = tmp_path.iterdir()

    assert path.stat().st_mode & 0o777 == 0o600
    dispatch_socket.close()


async def test_oversized_and_unreadable_notifications_are_dropped(executors: tuple[str, ...], tmp_path: Path) -> None:
    received: list[DirectDispatch] = []
    dispatch_socket, direct_dispatcher = opened(executors, received.append), DirectDispatcher(socket_prefix(executors))

    direct_dispatcher.send(DirectDispatch("execution:p:x2", 1, 8, "r2", bytes(LONGEST)))
    (path,) = tmp_path.iterdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"open up", str(path))
    direct_dispatcher.send(DIRECT_DISPATCH)

    await received_by(received)
    assert received == [DIRECT_DISPATCH]
    dispatch_socket.close()
    direct_dispatcher.close()


async def test_worker_that_reads_nothing_does_not_block_the_sender(executors: tuple[str, ...], tmp_path: Path) -> None:
    direct_dispatcher = DirectDispatcher(socket_prefix(executors))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(f"{socket_prefix(executors)}deaf")

        for _ in range(10_000):
            direct_dispatcher.send(DIRECT_DISPATCH)

    direct_dispatcher.close()


async def test_process_with_an_executor_on_another_host_opens_no_socket() -> None:
    received: list[DirectDispatch] = []
    direct_dispatcher = DirectDispatcher(socket_prefix(("tcp:10.0.0.1:9000",)))

    assert DispatchSocket.open(("tcp:10.0.0.1:9000",), received.append) is None
    direct_dispatcher.send(DIRECT_DISPATCH)
    await asyncio.sleep(0)

    assert received == []
    direct_dispatcher.close()


async def test_worker_that_cannot_open_a_socket_works_without(tmp_path: Path) -> None:
    assert DispatchSocket.open((f"unix:{tmp_path}/missing/executor.sock",), lambda _: None) is None
