"""How a random history ends: with followers that have seen all of it."""

from collections.abc import Sequence

from annals.store.follower import Follower


async def to_the_end(followers: Sequence[Follower]) -> None:
    """In larger batches than meanwhile: how events are cut into batches makes no difference."""
    for follower in followers:
        follower.batch = 100
        while await follower.catch_up():
            pass
