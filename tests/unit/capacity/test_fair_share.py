"""The policy of fair sharing: the requests that may start, given the demand of all projects."""

from dataclasses import dataclass

import pytest

from annals.capacity.fair_queue import FairShare
from annals.capacity.shared_memory import ProcessDemand

FEW = 2


@dataclass
class Host:
    """The state of the host that the policy sees."""

    contended: bool = True
    others: int = 0
    running: int = 0

    def is_contended(self, project_id: str) -> bool:
        return self.contended

    def others_demand(self, project_id: str) -> int:
        return self.others

    def running_elsewhere(self, project_id: str) -> int:
        return self.running


def share_with_running(host: Host, count: int) -> FairShare:
    share = FairShare(host, few=FEW, longest_rest=0.5)
    for _ in range(count):
        share.add("a")
        share.start("a")
    return share


@pytest.mark.parametrize("running", [0, 1, 50, 10_000])
def test_project_alone_on_its_host_starts_any_number_of_requests(running: int) -> None:
    assert share_with_running(Host(contended=False, others=1), running).may_start("a")


@pytest.mark.parametrize(("running", "may_start"), [(0, True), (1, True), (2, False), (3, False)])
def test_project_runs_few_requests_while_others_were_active_recently(running: int, may_start: bool) -> None:
    assert share_with_running(Host(others=0), running).may_start("a") is may_start


@pytest.mark.parametrize(
    ("here", "elsewhere", "others", "may_start"),
    [
        (3, 0, 4, True),
        (4, 0, 4, False),
        (2, 1, 4, True),
        (2, 2, 4, False),
        (5, 0, 4, False),
        (1, 9, 4, False),
        (1, 0, 2, True),
    ],
)
def test_project_runs_no_more_requests_on_the_host_than_all_others_have(
    here: int, elsewhere: int, others: int, may_start: bool
) -> None:
    assert share_with_running(Host(others=others, running=elsewhere), here).may_start("a") is may_start


def test_each_process_always_runs_one_request_of_a_project() -> None:
    assert share_with_running(Host(others=1, running=100), 0).may_start("a")


@pytest.mark.parametrize(("running", "may_start"), [(3, True), (4, False)])
def test_cheap_requests_start_while_fewer_than_their_least_number_run(running: int, may_start: bool) -> None:
    assert share_with_running(Host(others=1, running=100), running).may_start("a", least=4) is may_start


def test_ended_request_lets_the_next_start() -> None:
    share = share_with_running(Host(), FEW)
    assert not share.may_start("a")

    share.end("a")

    assert share.may_start("a")


def test_removed_request_does_not_count() -> None:
    share = share_with_running(Host(), FEW - 1)
    share.add("a")
    assert share.demand() == ProcessDemand(FEW, "a", FEW, FEW - 1)

    share.remove("a")

    assert share.demand() == ProcessDemand(FEW - 1, "a", FEW - 1, FEW - 1)
    assert share.may_start("a")


@pytest.mark.parametrize(("worked", "rest"), [(0.0, 0.0), (0.1, 0.1), (0.5, 0.5), (60.0, 0.5)])
def test_project_pauses_for_the_duration_of_its_request_up_to_a_maximum(worked: float, rest: float) -> None:
    assert share_with_running(Host(others=1), 1).rest_seconds("a", worked) == rest


@pytest.mark.parametrize("host", [Host(contended=False, others=1), Host(contended=True, others=0)])
def test_project_pauses_only_while_other_projects_have_requests(host: Host) -> None:
    assert share_with_running(host, 1).rest_seconds("a", 0.1) == 0.0


def test_demand_shows_all_requests_and_those_of_the_project_with_the_most() -> None:
    share = FairShare(Host())
    for project in "abbc":
        share.add(project)
    share.start("b")

    assert share.demand() == ProcessDemand(4, "b", 2, 1)
    assert share.is_busiest("b")
    assert not share.is_busiest("a")

    share.end("b")
    share.remove("b")
    share.add("a")

    assert share.demand() == ProcessDemand(3, "a", 2, 0)
