"""Tasks that are to end, whatever they were in the middle of."""

import asyncio

_AGAIN_SECONDS = 1.0


async def end(*tasks: "asyncio.Task[object]") -> None:
    """Cancel until all have ended: one whose connection breaks at that moment may hear of the connection alone."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
