"""How much a process may hold at once."""

import threading

from annals.workers.gate import Gate


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
