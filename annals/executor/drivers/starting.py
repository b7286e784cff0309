"""Starting a sandbox cannot be stopped halfway: what is cancelled meanwhile is started whole, and ended at once."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from annals.executor.drivers.port import Sandbox
from annals.executor.errors import StartFailed

S = TypeVar("S", bound=Sandbox)


async def started(start: Coroutine[Any, Any, S]) -> S:
    """The sandbox that `start` starts; when the caller is cancelled, none is left running that nobody knows of."""
    task = asyncio.ensure_future(start)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        ending = asyncio.ensure_future(_end(task))
        while not ending.done():  # who is cancelled again would cancel what it waits for, and leave half a start behind
            with suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
        await ending
        raise


async def _end(starting: "asyncio.Future[S]") -> None:
    with suppress(StartFailed, OSError):
        await (await starting).kill()
