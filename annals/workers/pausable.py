"""Duties that skip their turns while their kind of work is paused."""

from collections.abc import Awaitable, Callable

from annals.store.coordination.pauses import Holds


def unless_held(holds: Holds, name: str, run: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """Return a call of `run` that does nothing while a pause of this name is in place."""

    async def turn() -> None:
        if await holds.find(name) is None:
            await run()

    return turn
