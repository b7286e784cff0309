"""A source is limited by bytes, items, reads or processor time: by the one that it uses most."""

import pytest

from annals.executor.logs.throttle import Rates, Throttle

RATES = Rates(size=1000, items=100, reads=10, cpu=0.1)


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("used", [{"size": 100}, {"items": 10}, {"reads": 1}, {"cpu": 0.01}])
def test_each_resource_is_bounded_by_its_rate(used: dict[str, float]) -> None:
    clock = Clock()
    throttle = Throttle(RATES, 0.5, clock)

    waits = [throttle.spend(**used) for _ in range(6)]  # type: ignore[arg-type]

    assert waits[:5] == pytest.approx([0.0] * 5)
    assert waits[5] == pytest.approx(0.1)


def test_source_that_obeys_the_throttle_gets_exactly_its_rate() -> None:
    clock = Clock()
    throttle = Throttle(RATES, 0.5, clock)
    sent = 0
    while clock.now < 60.0:
        clock.now += throttle.spend(size=50) + 1e-9
        sent += 50

    assert 10_000 <= sent <= 10_000 + 500 + 100


def test_unused_rate_is_not_saved_beyond_the_burst() -> None:
    clock = Clock()
    throttle = Throttle(RATES, 0.5, clock)
    clock.now += 3600

    assert throttle.spend(size=500) == 0.0
    assert throttle.spend(size=100) > 0.0


def test_large_read_counts_by_its_bytes_alone() -> None:
    throttle = Throttle(Rates(size=1e9, items=1, reads=1, cpu=1), 0.5, Clock())

    assert throttle.read(100_000) == 0.0
    assert throttle.read(1) > 0.0
