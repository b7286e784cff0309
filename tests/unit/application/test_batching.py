"""Reads of many tasks share few fetches."""

import asyncio
from collections.abc import Sequence

import pytest

from annals.application.executions.claimed import BatchedRead


class Source:
    """Doubles numbers and records its batches; a batch with 13 and another number fails."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        await asyncio.sleep(0.001)
        if 13 in numbers:
            raise ValueError("13")
        return [2 * number for number in numbers]


async def test_keys_requested_during_a_read_share_the_next() -> None:
    source = Source()
    doubled = BatchedRead(source, most=10)

    assert await asyncio.gather(*map(doubled, range(20, 45))) == [2 * n for n in range(20, 45)]

    assert [len(batch) for batch in source.batches] == [10, 10, 5]


async def test_failed_read_fails_for_its_key_alone() -> None:
    doubled = BatchedRead(Source())

    answers = await asyncio.gather(doubled(1), doubled(13), doubled(2), return_exceptions=True)

    assert [answers[0], answers[2]] == [2, 4]
    assert isinstance(answers[1], ValueError)


async def test_cancelled_reader_does_not_cancel_others() -> None:
    doubled = BatchedRead(Source())
    tasks = [asyncio.create_task(doubled(n)) for n in range(3)]
    await asyncio.sleep(0)

    tasks[1].cancel()

    assert await tasks[0] == 0
    assert await tasks[2] == 4
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert await doubled(5) == 10
