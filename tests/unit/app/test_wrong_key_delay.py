"""Answers to wrong keys are delayed increasingly, by network."""

import asyncio

import pytest

from annals.app.identity import wrong_key_delay
from annals.app.identity.client_addresses import network_of
from annals.app.identity.wrong_key_delay import (
    FORGOTTEN_SECONDS,
    FREE,
    LONGEST_SECONDS,
    MOST_NETWORKS,
    MOST_WAITING,
    WrongKeyDelay,
)
from annals.domain.errors import RateLimited


class Time:
    """A clock that a test moves. It notes the sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.limiter: asyncio.Event | None = None

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.limiter is not None:
            await self.limiter.wait()


async def test_delay_of_wrong_keys_grows_to_a_limit() -> None:
    time = Time()
    failed = WrongKeyDelay(clock=time, sleep=time.sleep)

    for _ in range(FREE + 8):
        await failed.delay("203.0.113.7")

    assert time.slept == [0.1, 0.2, 0.4, 0.8, 1.6, *[LONGEST_SECONDS] * 3]


async def test_delay_ends_after_a_while_without_wrong_keys() -> None:
    time = Time()
    failed = WrongKeyDelay(clock=time, sleep=time.sleep)
    for _ in range(FREE + 1):
        await failed.delay("203.0.113.7")
    time.now += FORGOTTEN_SECONDS + 1

    await failed.delay("203.0.113.7")

    assert len(time.slept) == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_network_of_an_address(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_addresses_of_one_ipv6_subnet_share_a_delay() -> None:
    time = Time()
    failed = WrongKeyDelay(clock=time, sleep=time.sleep)
    for number in range(FREE + 1):
        await failed.delay(f"2001:db8::{number:x}")
    assert time.slept == [0.1]

    await failed.delay("2001:db8:0:1::1")
    assert time.slept == [0.1]


async def test_delayed_requests_are_bounded() -> None:
    time = Time()
    failed = WrongKeyDelay(clock=time, sleep=time.sleep)
    for _ in range(FREE):
        await failed.delay("203.0.113.7")
    time.limiter = asyncio.Event()
    held = [asyncio.create_task(failed.delay("203.0.113.7")) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)

    with pytest.raises(RateLimited):
        await failed.delay("203.0.113.7")
    await failed.delay("203.0.113.8")
    time.limiter.set()
    await asyncio.gather(*held)

    await failed.delay("203.0.113.7")


async def test_remembered_networks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_key_delay, "MOST_NETWORKS", 2)
    assert MOST_NETWORKS > 2
    time = Time()
    failed = WrongKeyDelay(clock=time, sleep=time.sleep)
    for _ in range(FREE + 1):
        await failed.delay("203.0.113.1")
    for last in (2, 3):
        await failed.delay(f"203.0.113.{last}")

    await failed.delay("203.0.113.1")

    assert len(time.slept) == 1
