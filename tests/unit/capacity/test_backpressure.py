"""What API processes and workers of one host know of each other: whether calls wait to be accepted."""

from pathlib import Path

from annals.capacity.shared_memory import BACKPRESSURE_SECONDS, Backpressure


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock, *executors: str) -> Backpressure:
    return Backpressure.open(executors, clock)


def test_what_one_process_says_is_seen_by_another_of_the_host_for_a_moment(tmp_path: Path) -> None:
    clock = Clock()
    api, worker = (opened(clock, f"unix:{tmp_path}/executor.sock") for _ in range(2))
    assert not worker.active

    api.raise_flag()
    clock.now += BACKPRESSURE_SECONDS / 2
    assert worker.active

    clock.now += BACKPRESSURE_SECONDS
    assert not worker.active


def test_it_lasts_while_it_is_said_again(tmp_path: Path) -> None:
    clock = Clock()
    api, worker = (opened(clock, f"unix:{tmp_path}/executor.sock") for _ in range(2))

    for _ in range(10):
        api.raise_flag()
        clock.now += BACKPRESSURE_SECONDS / 2
        assert worker.active


def test_those_who_use_an_executor_of_another_host_share_nothing() -> None:
    clock = Clock()
    api, worker = (opened(clock, "tcp:10.0.0.1:9000") for _ in range(2))

    api.raise_flag()

    assert not worker.active


def test_what_was_said_before_the_host_was_started_anew_is_nothing(tmp_path: Path) -> None:
    clock = Clock()
    opened(clock, f"unix:{tmp_path}/executor.sock").raise_flag()

    clock.now = 1.0

    assert not opened(clock, f"unix:{tmp_path}/executor.sock").active


def test_where_nothing_can_be_shared_nobody_is_pressed_by_others(tmp_path: Path) -> None:
    clock = Clock()
    api, worker = (opened(clock, f"unix:{tmp_path}/missing/executor.sock") for _ in range(2))

    api.raise_flag()

    assert not worker.active


def test_a_link_that_lies_where_the_memory_would_be_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept as it is")
    (tmp_path / "executor.sock.pressure").symlink_to(victim)

    opened(Clock(), f"unix:{tmp_path}/executor.sock").raise_flag()

    assert victim.read_text() == "kept as it is"
