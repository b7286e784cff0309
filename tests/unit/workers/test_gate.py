"""How much a process may hold at once."""

import threading

from annals.capacity.worker_limiter import PACE_PLACES, Gate


def test_lets_in_no_more_than_it_has_places() -> None:
    gate = Gate(3)

    assert [gate.reserve(2, 0), gate.reserve(2, 0), gate.reserve(2, 0)] == [2, 1, 0]
    assert gate.busy == 3


def test_a_place_that_is_given_back_lets_in_who_waits() -> None:
    gate = Gate(1)
    gate.reserve(1, 0)
    threading.Timer(0.05, gate.release).start()

    assert gate.reserve(1, threading.TIMEOUT_MAX) == 1


def test_a_closed_one_lets_nobody_in_and_holds_up_nobody() -> None:
    gate = Gate(1)
    gate.reserve(1, 0)
    threading.Timer(0.05, gate.close).start()

    assert gate.reserve(1, threading.TIMEOUT_MAX) == 0
    gate.release()
    assert gate.reserve(1, 0) == 0


def test_tells_when_a_lane_has_its_share_and_when_it_gave_some_back() -> None:
    gate = Gate(4, lane_limit=2)
    gate.reserve(3, 0)
    gate.occupy("a")
    assert not gate.crowded
    gate.occupy("a")
    gate.release()
    assert (gate.crowded, gate.released) == (True, 0)

    gate.release(lane="a")

    assert (gate.crowded, gate.released) == (False, 1)


def test_gives_out_few_places_at_a_time_while_the_host_is_pressed_and_all_of_them_after() -> None:
    pressed = True
    gate = Gate(100, pressed=lambda: pressed)

    assert [gate.reserve(64, 0), gate.reserve(64, 0)] == [PACE_PLACES, PACE_PLACES]

    pressed = False
    assert gate.reserve(64, 0) == 64


def test_goes_on_giving_out_places_however_long_the_host_is_pressed() -> None:
    gate = Gate(3 * PACE_PLACES, pressed=lambda: True)

    assert [gate.reserve(64, 0) for _ in range(4)] == [PACE_PLACES, PACE_PLACES, PACE_PLACES, 0]


def test_lets_in_what_did_not_come_through_the_queue_only_while_that_is_drained() -> None:
    pressed = False
    gate = Gate(3, lane_limit=2, pressed=lambda: pressed)
    assert not gate.enter("a")

    gate.drained = True
    assert [gate.enter("a"), gate.enter("a"), gate.enter("a")] == [True, True, False]
    gate.reserve(1, 0)
    assert not gate.enter("b")
    gate.release()
    pressed = True
    assert not gate.enter("b")
    pressed = False
    assert gate.enter("b")
    assert gate.busy == 3

    gate.release(lane="b")
    gate.close()
    assert not gate.enter("b")
