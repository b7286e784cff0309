"""The watcher's own clock decides which holders are lost."""

from annals.store.coordination.leases import Watch


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watch(clock: Clock) -> Watch:
    return Watch(10.0, clock=clock)


def looks(watched: Watch, clock: Clock, seconds: float, beats: dict[str, int], wanted: set[str]) -> set[str]:
    """Check every two seconds, as a reaper does, and return the last result."""
    lost: set[str] = set()
    until = clock.now + seconds
    while clock.now < until:
        lost = watched.lost(beats, wanted)
        clock.now += 2
    return lost


def test_holder_whose_count_stands_still_is_lost_after_the_lease() -> None:
    clock = Clock()
    watched = watch(clock)

    assert looks(watched, clock, 10, {"w1": 5}, {"w1"}) == set()
    assert looks(watched, clock, 4, {"w1": 5}, {"w1"}) == {"w1"}


def test_holder_with_heartbeats_is_never_lost() -> None:
    clock = Clock()
    watched = watch(clock)

    for beats in range(20):
        assert looks(watched, clock, 6, {"w1": beats}, {"w1"}) == set()


def test_holder_without_a_row_is_lost_after_the_lease_too() -> None:
    clock = Clock()
    watched = watch(clock)

    assert looks(watched, clock, 8, {}, {"gone"}) == set()
    assert looks(watched, clock, 6, {}, {"gone"}) == {"gone"}


def test_holder_that_comes_back_is_not_lost_any_more() -> None:
    clock = Clock()
    watched = watch(clock)
    assert looks(watched, clock, 14, {"w1": 5}, {"w1"}) == {"w1"}

    assert watched.lost({"w1": 6}, {"w1"}) == set()


def test_only_wanted_holders_are_reported_as_lost() -> None:
    clock = Clock()

    assert looks(watch(clock), clock, 20, {"w1": 5, "w2": 5}, {"w2"}) == {"w2"}


def test_watcher_that_was_paused_restarts_its_observation() -> None:
    clock = Clock()
    watched = watch(clock)
    assert looks(watched, clock, 8, {"w1": 5}, {"w1"}) == set()

    clock.now += 60  # no watcher looked: the worker may have been alive
    assert looks(watched, clock, 8, {"w1": 5}, {"w1"}) == set()
    assert looks(watched, clock, 6, {"w1": 5}, {"w1"}) == {"w1"}
