"""The log of `annals up`: requests with their ids, builds and failed executions with theirs and the reason."""

import pytest

from tests.client import Client
from tests.instance import AnnalsInstance, eventually

FAILS = "module.exports = async () => { throw new Error('the code says why') }"


@pytest.fixture
def client(annals_instance: AnnalsInstance) -> Client:
    return Client(annals_instance.endpoint, annals_instance.headers)


def line(instance: AnnalsInstance, *parts: str) -> str:
    """Wait for the log line that contains all these parts, and return it."""

    def found() -> str | None:
        lines = instance.log.read_text().splitlines()
        return next((one for one in lines if all(part in one for part in parts)), None)

    return str(eventually(found))


def test_request_line_names_request_project_and_position(annals_instance: AnnalsInstance, client: Client) -> None:
    def logged() -> str | None:
        """Return the line of a new request: the log samples requests, so some have no line."""
        answer = client.http.get("/functions", headers={"X-Request-Id": "request1of1log"})
        position = answer.headers["X-Annals-Position"]
        parts = ("request  ", "request=request1of1log", f"project={annals_instance.project}", f"position={position}")
        lines = annals_instance.log.read_text().splitlines()
        return next((one for one in lines if all(part in one for part in parts)), None)

    eventually(logged)


def test_finished_build_is_logged_with_its_ids(annals_instance: AnnalsInstance, client: Client) -> None:
    function = client.function("logged-builds", "module.exports = async ({ res }) => res.text('here')")

    assert "build ready" in line(annals_instance, "build ready", f"function={function}", "deployment=", "seconds=")


def test_failed_build_is_a_warning_with_its_reason(annals_instance: AnnalsInstance, client: Client) -> None:
    made = {"functionId": "logged-failures", "name": "f", "runtime": "node-22", "entrypoint": "index.js"}
    client.call("POST", "/functions", json={**made, "commands": "exit 3"})
    deployment = client.deploy("logged-failures", {"index.js": FAILS})
    client.built("logged-failures", deployment)

    assert "WARNING build failed" in line(
        annals_instance, "function=logged-failures", f"deployment={deployment}", "reason=command_failed", "message="
    )


@pytest.mark.parametrize("asynchronous", [False, True])
def test_failed_execution_is_a_warning_with_its_reason_and_no_text_of_the_code(
    annals_instance: AnnalsInstance, client: Client, asynchronous: bool
) -> None:
    function = client.function(f"logged-calls-{asynchronous}".lower(), FAILS)
    execution = client.execute(function, **{"async": asynchronous})["$id"]

    found = line(annals_instance, f"function={function}", f"execution={execution}")

    assert "WARNING execution failed" in found
    assert "reason=error status=500" in found
    assert "the code says why" not in annals_instance.log.read_text()
