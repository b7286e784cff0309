"""How much a process may hold at once."""

import threading

from annals.capacity.limiter import PACE_SLOTS, WorkerLimiter


def test_lets_in_no_more_than_it_has_places() -> None:
    limiter = WorkerLimiter(3)

    assert [limiter.reserve(2, 0), limiter.reserve(2, 0), limiter.reserve(2, 0)] == [2, 1, 0]
    assert limiter.busy == 3


def test_a_place_that_is_given_back_lets_in_who_waits() -> None:
    limiter = WorkerLimiter(1)
    limiter.reserve(1, 0)
    threading.Timer(0.05, limiter.release).start()

    assert limiter.reserve(1, threading.TIMEOUT_MAX) == 1


def test_a_closed_one_lets_nobody_in_and_holds_up_nobody() -> None:
    limiter = WorkerLimiter(1)
    limiter.reserve(1, 0)
    threading.Timer(0.05, limiter.close).start()

    assert limiter.reserve(1, threading.TIMEOUT_MAX) == 0
    limiter.release()
    assert limiter.reserve(1, 0) == 0


def test_tells_when_a_lane_has_its_share_and_when_it_gave_some_back() -> None:
    limiter = WorkerLimiter(4, tenant_limit=2)
    limiter.reserve(3, 0)
    limiter.occupy("a")
    assert not limiter.at_limit
    limiter.occupy("a")
    limiter.release()
    assert (limiter.at_limit, limiter.released) == (True, 0)

    limiter.release(tenant="a")

    assert (limiter.at_limit, limiter.released) == (False, 1)


def test_gives_out_few_places_at_a_time_while_the_host_is_pressed_and_all_of_them_after() -> None:
    pressed = True
    limiter = WorkerLimiter(100, backpressure=lambda: pressed)

    assert [limiter.reserve(64, 0), limiter.reserve(64, 0)] == [PACE_SLOTS, PACE_SLOTS]

    pressed = False
    assert limiter.reserve(64, 0) == 64


def test_goes_on_giving_out_places_however_long_the_host_is_pressed() -> None:
    limiter = WorkerLimiter(3 * PACE_SLOTS, backpressure=lambda: True)

    assert [limiter.reserve(64, 0) for _ in range(4)] == [PACE_SLOTS, PACE_SLOTS, PACE_SLOTS, 0]


def test_lets_in_what_did_not_come_through_the_queue_only_while_that_is_drained() -> None:
    pressed = False
    limiter = WorkerLimiter(3, tenant_limit=2, backpressure=lambda: pressed)
    assert not limiter.enter("a")

    limiter.drained = True
    assert [limiter.enter("a"), limiter.enter("a"), limiter.enter("a")] == [True, True, False]
    limiter.reserve(1, 0)
    assert not limiter.enter("b")
    limiter.release()
    pressed = True
    assert not limiter.enter("b")
    pressed = False
    assert limiter.enter("b")
    assert limiter.busy == 3

    limiter.release(tenant="b")
    limiter.close()
    assert not limiter.enter("b")
