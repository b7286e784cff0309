"""Calls whose code answers at once are recorded in one append if possible."""

from typing import Any

import pytest

from annals.app.services import Services
from annals.application.executions import run
from annals.application.executions.run import SMALL_OUTPUT
from annals.domain.ports import Outcome
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor


@pytest.mark.parametrize(
    "case",
    [
        (Outcome(status_code=200, logs="a log"), {}, [2]),
        (Outcome(status_code=500, reason="crashed"), {}, [2]),
        (Outcome(status_code=200, logs="x" * (SMALL_OUTPUT + 1)), {}, [1, 1]),
        (Outcome(status_code=200), {"idempotency-key": "k1"}, [1, 1]),
    ],
    ids=["short", "failed", "much output", "may be repeated"],
)
async def test_call_that_ends_at_once_is_recorded_in_one_append(
    services: Services,
    executor: FakeExecutor,
    plain: Client,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[Outcome, dict[str, str], list[int]],
) -> None:
    outcome, headers, appends = case
    function_id = await given.running_function(services, plain)
    plain.headers.update(headers)
    executor.answer = lambda _run: outcome
    monkeypatch.setattr(run, "COALESCE_SECONDS", 60.0)
    recorded: list[int] = []
    record = services.log.record

    async def counted(aggregates: Any, **recorded_events: Any) -> Any:
        recorded.append(len([event for one in aggregates for event in one.pending_events]))
        return await record(aggregates, **recorded_events)

    monkeypatch.setattr(services.log, "record", counted)
    fair_queue: list[str] = []
    permit = services.fair_queue.permit

    def begun(project_id: str, **how: Any) -> Any:
        fair_queue.append(project_id)
        return permit(project_id, **how)

    monkeypatch.setattr(services.fair_queue, "permit", begun)

    shown = (await given.execute(plain, function_id)).json

    assert recorded == appends
    assert len(fair_queue) == len(appends), "what is not recorded yet waits for no other's turn"
    history = (await plain.get(f"/v1/functions/{function_id}/executions/{shown['$id']}/history")).json["events"]
    assert [event["type"] for event in history] == ["execution.requested", f"execution.{shown['status']}"]
