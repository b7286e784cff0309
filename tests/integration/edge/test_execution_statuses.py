"""Statuses of executions: the code's own from 100 to 999, and the platform's if no server answered."""

import pytest

from annals.app.services import Services
from annals.domain.ports import UNANSWERED_STATUS, Outcome, Reason
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor


@pytest.mark.behaviours(93, 94)
async def test_every_status_of_the_code_is_answered_and_stored_and_fails_from_500_on(
    services: Services, executor: FakeExecutor, keys: list[Client]
) -> None:
    function_id = await given.running_function(services, keys[0])

    for key in keys:
        for code in (100, 101, 103, 199, 200, 204, 304, 400, 404, 499, 500, 501, 502, 503, 504, 599, 600, 700, 999):
            executor.outcome = Outcome(status_code=code, errors="a trace")
            answer = (await given.execute(key, function_id)).json
            stored = (await key.get(f"/v1/functions/{function_id}/executions/{answer['$id']}")).json
            status = "failed" if code >= 500 else "completed"
            for shown in (answer, stored):
                assert (shown["status"], shown["responseStatusCode"], shown["errors"]) == (status, code, "a trace")


@pytest.mark.parametrize("reason", ["timeout", "crashed", "out_of_memory", "start_failed", "response_too_large"])
async def test_run_that_no_server_answered_has_the_status_500(
    services: Services, executor: FakeExecutor, plain: Client, reason: Reason
) -> None:
    function_id = await given.running_function(services, plain)
    executor.outcome = Outcome(status_code=UNANSWERED_STATUS, reason=reason, message="It is over.")

    answer = (await given.execute(plain, function_id)).json

    assert (answer["status"], answer["responseStatusCode"], answer["errors"]) == ("failed", 500, "It is over.")
