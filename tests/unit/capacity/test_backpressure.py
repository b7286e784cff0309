"""Backpressure: the flag that API processes of a host raise for its workers."""

from pathlib import Path

from annals.capacity.shared_memory import BACKPRESSURE_SECONDS, Backpressure


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock, *executors: str) -> Backpressure:
    return Backpressure.open(executors, clock)


def test_backpressure_of_one_process_is_seen_by_another_for_a_moment(tmp_path: Path) -> None:
    clock = Clock()
    api, worker = (opened(clock, f"unix:{tmp_path}/executor.sock") for _ in range(2))
    assert not worker.active

    api.raise_flag()
    clock.now += BACKPRESSURE_SECONDS / 2
    assert worker.active

    clock.now += BACKPRESSURE_SECONDS
    assert not worker.active


def test_backpressure_lasts_while_it_is_reported(tmp_path: Path) -> None:
    clock = Clock()
    api, worker = (opened(clock, f"unix:{tmp_path}/executor.sock") for _ in range(2))

    for _ in range(10):
        api.raise_flag()
        clock.now += BACKPRESSURE_SECONDS / 2
        assert worker.active


def test_processes_with_an_executor_on_another_host_share_nothing() -> None:
    clock = Clock()
    api, worker = (opened(clock, "tcp:10.0.0.1:9000") for _ in range(2))

    api.raise_flag()

    assert not worker.active


def test_backpressure_from_before_the_restart_of_the_host_is_ignored(tmp_path: Path) -> None:
    clock = Clock()
    opened(clock, f"unix:{tmp_path}/executor.sock").raise_flag()

    clock.now = 1.0

    assert not opened(clock, f"unix:{tmp_path}/executor.sock").active


def test_process_without_shared_memory_sees_no_backpressure_of_others(tmp_path: Path) -> None:
    clock = Clock()
    api, worker = (opened(clock, f"unix:{tmp_path}/missing/executor.sock") for _ in range(2))

    api.raise_flag()

    assert not worker.active


def test_symbolic_link_in_the_path_of_the_memory_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept as it is")
    (tmp_path / "executor.sock.pressure").symlink_to(victim)

    opened(Clock(), f"unix:{tmp_path}/executor.sock").raise_flag()

    assert victim.read_text() == "kept as it is"
