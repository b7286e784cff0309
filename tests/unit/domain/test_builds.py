"""Builds: claimed once, ended once, never reopened."""

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from annals.domain.commands.deployments import cancel_build, recover_build
from annals.domain.deployment import whole_seconds
from annals.domain.errors import BuildAlreadyCompleted, DeploymentNotFound
from tests.unit.domain.given import ARTEFACT, SOURCE, begun, given_deployment

OTHER_FIELDS = {"milliseconds": 10, "specification": "s", "logs_digest": "", "logs_size": 0}


def test_source_is_stored_once() -> None:
    deployment = given_deployment("uploading")
    deployment.store_source(SOURCE)
    deployment.store_source(SOURCE)
    assert [type(e).__name__ for e in deployment.collect_events()] == ["SourceStored", "BuildQueued"]


def test_unfinished_upload_cannot_be_claimed() -> None:
    assert given_deployment("uploading").claim_build("w") is False


def test_build_is_claimed_by_one_worker() -> None:
    deployment = given_deployment()
    assert deployment.claim_build("w1") is True
    assert deployment.claim_build("w2") is False


@pytest.mark.parametrize("status", ["waiting", "processing", "building"])
def test_canceled_build_ignores_late_results(status: str) -> None:
    deployment = given_deployment(status)
    deployment.cancel_build(3)
    assert deployment.claim_build("w2") is False
    assert deployment.start_build(1) is False
    assert deployment.complete_build(1, ARTEFACT, **OTHER_FIELDS) is False  # type: ignore[arg-type]
    assert deployment.fail_build(1, "timeout", "late") is False
    deployment.cancel_build(4)
    assert deployment.status == "canceled"
    assert [type(e).__name__ for e in deployment.collect_events()] == ["BuildCanceled"]


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_ended_build_cannot_be_canceled(status: str) -> None:
    with pytest.raises(BuildAlreadyCompleted):
        given_deployment(status).cancel_build(0)


@pytest.mark.parametrize(
    ("status", "ends"),
    [("uploading", 0), ("waiting", 1), ("processing", 1), ("building", 1), ("ready", 0), ("failed", 0)],
)
def test_build_of_a_deleted_function_ends_once(status: str, ends: int) -> None:
    deployment = given_deployment(status)
    deployment.abandon(deployment.function_incarnation + 1)
    assert deployment.collect_events() == []
    deployment.abandon(deployment.function_incarnation)
    deployment.abandon(deployment.function_incarnation)
    assert [type(event).__name__ for event in deployment.collect_events()] == ["BuildCanceled"] * ends


def test_build_is_canceled_only_through_its_own_function() -> None:
    with pytest.raises(DeploymentNotFound):
        cancel_build(given_deployment(), function_id="other", seconds=0)


def test_lost_build_is_queued_again_and_rejects_its_first_worker() -> None:
    deployment = given_deployment("building")
    recover_build(deployment, epoch=1, attempts=3)
    assert deployment.status == "waiting"
    assert deployment.claim_build("w2") is True
    assert deployment.epoch == 2
    assert deployment.complete_build(1, ARTEFACT, **OTHER_FIELDS) is False  # type: ignore[arg-type]
    assert deployment.complete_build(2, ARTEFACT, **OTHER_FIELDS) is True  # type: ignore[arg-type]


def test_build_lost_too_often_has_failed() -> None:
    deployment = given_deployment("building")
    recover_build(deployment, epoch=1, attempts=1)
    assert deployment.status == "failed"


def test_upload_of_another_function_is_not_found() -> None:
    with pytest.raises(DeploymentNotFound):
        begun(given_deployment(), function_id="other")


@pytest.mark.parametrize(("milliseconds", "seconds"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)])
def test_durations_round_up_to_whole_seconds(milliseconds: int, seconds: int) -> None:
    assert whole_seconds(milliseconds) == seconds


class Builds(RuleBasedStateMachine):
    """Workers claim, end, lose and cancel in any order; the status only moves forward and ends once."""

    def __init__(self) -> None:
        super().__init__()
        self.deployment = given_deployment("uploading")
        self.ends: list[str] = []

    def _note(self) -> None:
        ends = {"BuildSucceeded", "BuildFailed", "BuildCanceled"}
        self.ends += [n for e in self.deployment.collect_events() if (n := type(e).__name__) in ends]

    @rule()
    def upload(self) -> None:
        self.deployment.store_source(SOURCE)

    @rule()
    def claim(self) -> None:
        self.deployment.claim_build("w")

    @rule()
    def start(self) -> None:
        self.deployment.start_build(self.deployment.epoch)

    @rule()
    def lose(self) -> None:
        recover_build(self.deployment, epoch=self.deployment.epoch, attempts=3)
        self._note()

    @rule()
    def late(self) -> None:
        assert self.deployment.complete_build(self.deployment.epoch - 1, ARTEFACT, **OTHER_FIELDS) is False  # type: ignore[arg-type]

    @rule()
    def complete(self) -> None:
        self.deployment.complete_build(self.deployment.epoch, ARTEFACT, **OTHER_FIELDS)  # type: ignore[arg-type]
        self._note()

    @rule()
    def cancel(self) -> None:
        if self.deployment.status not in {"ready", "failed"}:
            self.deployment.cancel_build(1)
            self._note()

    @invariant()
    def ends_once(self) -> None:
        assert len(self.ends) <= 1
        assert bool(self.ends) == (self.deployment.status in {"ready", "failed", "canceled"})


Builds.TestCase.settings = settings(max_examples=100, stateful_step_count=15, deadline=None)
TestBuilds = Builds.TestCase
