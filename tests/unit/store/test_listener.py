"""Notifications of commits by name: a waiter misses none of its name, for any number of names."""

import asyncio
from typing import Any, cast

import pytest

from annals.store.postgres import listener
from annals.store.postgres.listener import ALL, Listener


def a_listener() -> Listener:
    return Listener(cast(Any, None))


async def test_waiter_for_a_name_wakes_by_that_name_and_by_notifications_for_all() -> None:
    notification = a_listener()
    for names in ("a", ALL):
        waiting = asyncio.create_task(notification.wait_for("a", notification.heard_of("a"), 600))
        await asyncio.sleep(0)
        notification._count("b")
        await asyncio.sleep(0)
        assert not waiting.done()

        notification._count(names)

        async with asyncio.timeout(60):
            await waiting


async def test_names_over_the_limit_all_count_as_notified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MOST_NAMES", 3)
    notification = a_listener()
    notification._count("a")
    known = {name: notification.heard_of(name) for name in ("a", "never")}
    notification.fresh()

    for number in range(20):
        notification._count(f"other {number}")

    assert len(notification._counts) <= 3
    assert all(notification.heard_of(name) > before for name, before in known.items())
    assert ALL in notification.fresh()
    assert notification.count == 21
