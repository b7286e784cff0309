"""The limit on the job messages that a worker holds."""

import threading
import time

from annals.capacity.limiter import CLOSED_SECONDS, PACE_SLOTS, WorkerLimiter


def test_limiter_gives_out_no_more_slots_than_it_has() -> None:
    limiter = WorkerLimiter(3)

    assert [limiter.reserve(2, 0), limiter.reserve(2, 0), limiter.reserve(2, 0)] == [2, 1, 0]
    assert limiter.busy == 3


def test_released_slot_ends_the_wait_for_one() -> None:
    limiter = WorkerLimiter(1)
    limiter.reserve(1, 0)
    threading.Timer(0.05, limiter.release).start()

    assert limiter.reserve(1, threading.TIMEOUT_MAX) == 1


def test_closed_limiter_gives_out_nothing_and_ends_waits() -> None:
    limiter = WorkerLimiter(1)
    limiter.reserve(1, 0)
    threading.Timer(0.05, limiter.close).start()

    assert limiter.reserve(1, threading.TIMEOUT_MAX) == 0
    limiter.release()
    assert limiter.reserve(1, 0) == 0


def test_thread_that_asks_a_closed_limiter_does_not_spin() -> None:
    limiter = WorkerLimiter(1)
    limiter.close()
    began, processor = time.monotonic(), time.thread_time()

    assert [limiter.reserve(1, threading.TIMEOUT_MAX) for _ in range(5)] == [0] * 5

    waited = time.monotonic() - began
    assert waited >= 5 * CLOSED_SECONDS
    assert time.thread_time() - processor < waited / 5


def test_limiter_knows_when_a_project_is_at_its_limit_and_when_it_released_slots() -> None:
    limiter = WorkerLimiter(4, tenant_limit=2)
    limiter.reserve(3, 0)
    limiter.occupy("a")
    assert not limiter.at_limit
    limiter.occupy("a")
    limiter.release()
    assert (limiter.at_limit, limiter.released) == (True, 0)

    limiter.release(tenant="a")

    assert (limiter.at_limit, limiter.released) == (False, 1)


def test_limiter_gives_out_few_slots_at_a_time_under_backpressure() -> None:
    under_backpressure = True
    limiter = WorkerLimiter(100, backpressure=lambda: under_backpressure)

    assert [limiter.reserve(64, 0), limiter.reserve(64, 0)] == [PACE_SLOTS, PACE_SLOTS]

    under_backpressure = False
    assert limiter.reserve(64, 0) == 64


def test_limiter_goes_on_giving_out_slots_under_lasting_backpressure() -> None:
    limiter = WorkerLimiter(3 * PACE_SLOTS, backpressure=lambda: True)

    assert [limiter.reserve(64, 0) for _ in range(4)] == [PACE_SLOTS, PACE_SLOTS, PACE_SLOTS, 0]


def test_work_from_outside_the_queue_enters_only_while_the_queue_is_drained() -> None:
    under_backpressure = False
    limiter = WorkerLimiter(3, tenant_limit=2, backpressure=lambda: under_backpressure)
    assert not limiter.enter("a")

    limiter.drained = True
    assert [limiter.enter("a"), limiter.enter("a"), limiter.enter("a")] == [True, True, False]
    limiter.reserve(1, 0)
    assert not limiter.enter("b")
    limiter.release()
    under_backpressure = True
    assert not limiter.enter("b")
    under_backpressure = False
    assert limiter.enter("b")
    assert limiter.busy == 3

    limiter.release(tenant="b")
    limiter.close()
    assert not limiter.enter("b")
