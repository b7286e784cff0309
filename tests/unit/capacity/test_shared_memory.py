"""The shared memory of a host: the flag that API processes raise for its workers, and the activity of tenants."""

import os
from pathlib import Path

from annals.capacity.shared_memory import (
    ACTIVITY_SECONDS,
    BACKPRESSURE_SECONDS,
    PROCESSES,
    Backpressure,
    ProcessDemand,
    TenantActivity,
)


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


def processes(clock: Clock, folder: Path) -> tuple[TenantActivity, TenantActivity]:
    own = os.getpid(), os.getppid()
    one, other = (TenantActivity.open((f"unix:{folder}/executor.sock",), clock, process) for process in own)
    return one, other


def test_call_through_one_process_makes_the_host_contended_for_a_moment(tmp_path: Path) -> None:
    clock = Clock()
    one, other = processes(clock, tmp_path)
    one.record_call("a")
    assert (other.is_contended("b"), other.is_contended("a")) == (True, False)

    clock.now += ACTIVITY_SECONDS * 2

    assert not other.is_contended("b")


def test_project_does_not_contend_with_itself(tmp_path: Path) -> None:
    one, other = processes(Clock(), tmp_path)
    for _ in range(3):
        one.record_call("a")
        other.record_call("a")

    assert not one.is_contended("a")


def test_project_that_calls_rarely_is_remembered_beside_one_that_calls_often(tmp_path: Path) -> None:
    clock = Clock()
    one, other = processes(clock, tmp_path)
    one.record_call("rare")
    for _ in range(50):
        other.record_call("often")

    assert one.is_contended("often")
    clock.now += ACTIVITY_SECONDS * 0.6
    other.record_call("often")
    assert (other.is_contended("often"), other.is_contended("rare")) == (True, True)
    clock.now += ACTIVITY_SECONDS * 0.6
    assert (other.is_contended("often"), other.is_contended("rare")) == (False, True)


def test_many_projects_are_all_contended(tmp_path: Path) -> None:
    one, _ = processes(Clock(), tmp_path)
    projects = [f"p{number}" for number in range(20)]
    for project in projects:
        one.record_call(project)

    assert all(one.is_contended(project) for project in projects)


def test_activity_from_before_the_restart_of_the_host_is_ignored(tmp_path: Path) -> None:
    clock = Clock()
    one, _ = processes(clock, tmp_path)
    one.record_call("a")

    clock.now = 1.0

    assert not processes(clock, tmp_path)[0].is_contended("b")


def test_demand_of_others_is_counted_over_all_processes_of_a_host(tmp_path: Path) -> None:
    clock = Clock()
    one, other = processes(clock, tmp_path)
    one.publish(ProcessDemand(10, "a", 7, 3))
    other.publish(ProcessDemand(5, "b", 4, 1))
    assert [one.others_demand(project) for project in "abc"] == [3 + 5, 10 + 1, 15]

    other.publish(ProcessDemand(0, "b", 0, 0))
    assert one.others_demand("a") == 3
    clock.now += ACTIVITY_SECONDS * 2

    assert one.others_demand("c") == 0


def test_running_elsewhere_counts_other_processes_only(tmp_path: Path) -> None:
    clock = Clock()
    one, other = processes(clock, tmp_path)
    one.publish(ProcessDemand(10, "a", 7, 3))
    other.publish(ProcessDemand(5, "a", 4, 1))
    assert (one.running_elsewhere("a"), other.running_elsewhere("a"), one.running_elsewhere("b")) == (1, 3, 0)

    other.publish(ProcessDemand(5, "b", 5, 5))
    assert (one.running_elsewhere("a"), one.running_elsewhere("b")) == (0, 5)
    clock.now += ACTIVITY_SECONDS * 2

    assert one.running_elsewhere("b") == 0


def test_new_process_takes_the_record_of_a_dead_process(tmp_path: Path) -> None:
    clock, where, gone = Clock(), (f"unix:{tmp_path}/executor.sock",), 2**22 + 1
    former = [TenantActivity.open(where, clock, os.getppid() if number else gone) for number in range(PROCESSES)]
    for one in former:
        one.publish(ProcessDemand(1, "a", 0, 0))

    TenantActivity.open(where, clock, os.getpid()).publish(ProcessDemand(100, "a", 0, 0))

    assert former[1].others_demand("b") == 100 + PROCESSES - 1
