"""The number of calls in hand decides about backpressure and direct dispatch."""

import asyncio
import mmap
from contextlib import ExitStack
from pathlib import Path

import pytest
from eventsourcing.persistence import StoredEvent

from annals.application.executions.accept import SEVERAL, Accepting
from annals.capacity.shared_memory import Backpressure
from annals.store.content.blobs import Blob
from annals.store.content.contents import Content
from annals.store.coordination.direct_dispatch import DirectDispatch, DirectDispatcher, DispatchSocket, socket_prefix

EVENT = StoredEvent("execution:p:x1", 1, "execution.requested", b"state")


def test_several_calls_at_once_signal_backpressure_and_a_few_do_not() -> None:
    backpressure = Backpressure(mmap.mmap(-1, 8), clock=lambda: 1.0)
    accepting = Accepting(backpressure, DirectDispatcher(""), waiting=lambda: 0)
    for _ in range(10 * SEVERAL):
        with accepting.one():
            pass

    with ExitStack() as calls:
        for _ in range(SEVERAL - 1):
            calls.enter_context(accepting.one())
        assert accepting.alone
        assert not backpressure.active

        calls.enter_context(accepting.one())
        assert not accepting.alone
        assert backpressure.active


def test_calls_in_the_fair_queue_count_as_in_hand() -> None:
    backpressure = Backpressure(mmap.mmap(-1, 8), clock=lambda: 1.0)
    accepting = Accepting(backpressure, DirectDispatcher(""), waiting=lambda: SEVERAL - 1)
    with accepting.one():
        assert not accepting.alone
        assert backpressure.active


@pytest.mark.parametrize("given", [b"sealed", Blob("contents/p/1", 40_000, "digest")])
async def test_direct_dispatch_carries_the_sealed_input(given: bytes | Blob, tmp_path: Path) -> None:
    heard, executors = asyncio.Queue[DirectDispatch](), (f"unix:{tmp_path}/executor.sock",)
    dispatch_socket, direct_dispatcher = (
        DispatchSocket.open(executors, heard.put_nowait),
        DirectDispatcher(socket_prefix(executors)),
    )
    accepting = Accepting(Backpressure(mmap.mmap(-1, 8)), direct_dispatcher, waiting=lambda: 0)
    content = Content("execution:p:x1", "input", given)
    accepting.dispatch(EVENT, 7, "r1", content)

    async with asyncio.timeout(60):
        first = await heard.get()
    assert first == DirectDispatch("execution:p:x1", 1, 7, "r1", b"state", given if isinstance(given, bytes) else b"")
    assert heard.empty()
    assert dispatch_socket is not None
    dispatch_socket.close()
    direct_dispatcher.close()
