"""Knocks from who recorded an execution to a worker of the same host: hints that may be lost, and harm nobody."""

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
    beside,
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


async def heard_by(*ears: list[DirectDispatch], count: int = 1) -> None:
    """Return when so many knocks were heard in all."""
    async with asyncio.timeout(60):
        while sum(map(len, ears)) < count:
            await asyncio.sleep(0.001)


def opened(executors: tuple[str, ...], take: Callable[[DirectDispatch], None]) -> DispatchSocket:
    dispatch_socket = DispatchSocket.open(executors, take)
    assert dispatch_socket is not None
    return dispatch_socket


async def test_who_is_behind_a_door_hears_what_was_knocked(executors: tuple[str, ...]) -> None:
    heard: list[DirectDispatch] = []
    dispatch_socket, direct_dispatcher = opened(executors, heard.append), DirectDispatcher(beside(executors))

    direct_dispatcher.direct_dispatch(DIRECT_DISPATCH)

    await heard_by(heard)
    assert heard == [DIRECT_DISPATCH]
    dispatch_socket.close()
    direct_dispatcher.close()


async def test_workers_hear_of_it_in_turn_each_of_its_own(executors: tuple[str, ...]) -> None:
    first, second = list[DirectDispatch](), list[DirectDispatch]()
    dispatch_sockets = [opened(executors, first.append), opened(executors, second.append)]
    direct_dispatcher = DirectDispatcher(beside(executors))

    for _ in range(4):
        direct_dispatcher.direct_dispatch(DIRECT_DISPATCH)

    await heard_by(first, second, count=4)
    assert (len(first), len(second)) == (2, 2)
    for dispatch_socket in dispatch_sockets:
        dispatch_socket.close()
    direct_dispatcher.close()


async def test_a_worker_that_comes_later_is_found_and_one_that_went_is_passed_over(executors: tuple[str, ...]) -> None:
    clock, heard = Clock(), list[DirectDispatch]()
    direct_dispatcher = DirectDispatcher(beside(executors), clock)
    direct_dispatcher.direct_dispatch(DIRECT_DISPATCH)  # nobody is there
    dispatch_socket = opened(executors, heard.append)
    left = opened(executors, heard.append)
    clock.now += LOOK_SECONDS
    direct_dispatcher.direct_dispatch(DIRECT_DISPATCH)
    await heard_by(heard)

    left.close()
    for _ in range(2):
        direct_dispatcher.direct_dispatch(DIRECT_DISPATCH)

    await heard_by(heard, count=3)
    dispatch_socket.close()
    direct_dispatcher.close()


async def test_what_a_killed_worker_left_is_cleared_by_the_next(executors: tuple[str, ...], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(f"{beside(executors)}dead")
    alive = opened(executors, lambda _: None)

    dispatch_socket = opened(executors, lambda _: None)

    assert not (tmp_path / "executor.sock.door-dead").exists()
    assert len(os.listdir(tmp_path)) == 2
    alive.close()
    dispatch_socket.close()
    assert os.listdir(tmp_path) == []


async def test_a_door_is_its_owners_alone(executors: tuple[str, ...], tmp_path: Path) -> None:
    dispatch_socket = opened(executors, lambda _: None)

    (path,) = tmp_path.iterdir()

    assert path.stat().st_mode & 0o777 == 0o600
    dispatch_socket.close()


async def test_more_than_a_knock_may_hold_and_what_is_none_are_not_heard(
    executors: tuple[str, ...], tmp_path: Path
) -> None:
    heard: list[DirectDispatch] = []
    dispatch_socket, direct_dispatcher = opened(executors, heard.append), DirectDispatcher(beside(executors))

    direct_dispatcher.direct_dispatch(DirectDispatch("execution:p:x2", 1, 8, "r2", bytes(LONGEST)))
    (path,) = tmp_path.iterdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"open up", str(path))
    direct_dispatcher.direct_dispatch(DIRECT_DISPATCH)

    await heard_by(heard)
    assert heard == [DIRECT_DISPATCH]
    dispatch_socket.close()
    direct_dispatcher.close()


async def test_who_does_not_listen_holds_up_nobody(executors: tuple[str, ...], tmp_path: Path) -> None:
    direct_dispatcher = DirectDispatcher(beside(executors))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(f"{beside(executors)}deaf")

        for _ in range(10_000):
            direct_dispatcher.direct_dispatch(DIRECT_DISPATCH)

    direct_dispatcher.close()


async def test_without_an_executor_of_this_host_there_are_no_doors() -> None:
    heard: list[DirectDispatch] = []
    direct_dispatcher = DirectDispatcher(beside(("tcp:10.0.0.1:9000",)))

    assert DispatchSocket.open(("tcp:10.0.0.1:9000",), heard.append) is None
    direct_dispatcher.direct_dispatch(DIRECT_DISPATCH)
    await asyncio.sleep(0)

    assert heard == []
    direct_dispatcher.close()


async def test_a_worker_that_can_open_none_works_without(tmp_path: Path) -> None:
    assert DispatchSocket.open((f"unix:{tmp_path}/missing/executor.sock",), lambda _: None) is None
