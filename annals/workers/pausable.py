"""Duties that wait while a hold is in place."""

from collections.abc import Awaitable, Callable

from annals.store.coordination.pauses import Holds


def unless_held(holds: Holds, name: str, run: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """Run it, but for the turns at which this kind of work is held back."""

    async def turn() -> None:
        if await holds.find(name) is None:
            await run()

    return turn
