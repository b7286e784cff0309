"""End tasks wherever they are."""

import asyncio

_AGAIN_SECONDS = 1.0


async def end(*tasks: "asyncio.Task[object]") -> None:
    """Cancel tasks until all have ended; a connection that breaks at that moment may hide the first cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
