"""Executions through the official SDKs with real functions (behaviours.md F, G, H, K, M)."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api import code
from tests.api.conftest import create_function, deploy
from tests.api.sdks import Sdk, SdkError
from tests.client import Client
from tests.instance import AnnalsInstance, eventually


def execute(sdk: Sdk, function_id: str, **sent: Any) -> dict[str, Any]:
    made: dict[str, Any] = sdk.call("createExecution", functionId=function_id, **sent)
    return made


def ended(sdk: Sdk, function_id: str, execution_id: str, seconds: float = 90) -> dict[str, Any]:
    def final() -> dict[str, Any] | None:
        now: dict[str, Any] = sdk.call("getExecution", functionId=function_id, executionId=execution_id)
        return now if now["status"] in {"completed", "failed"} else None

    found: dict[str, Any] = eventually(final, seconds)
    return found


def body(execution: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(execution["responseBody"])
    return seen


@pytest.mark.behaviours(90, 91, 92, 95, 108, 113)
def test_code_receives_the_request_and_its_answer_is_returned(sdk: Sdk, echo: str) -> None:
    headers = {"x-custom": "v", "cookie": "a=b; c=d=e"}
    execution = execute(sdk, echo, path="/a/b?x=1", method="PATCH", body="hi", headers=headers)

    assert (execution["status"], execution["responseStatusCode"], execution["trigger"]) == ("completed", 200, "http")
    assert (execution["requestPath"], execution["requestMethod"]) == ("/a/b?x=1", "PATCH")
    assert execution["duration"] > 0
    seen = body(execution)
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("PATCH", "/a/b", "x=1", "hi")
    assert (seen["headers"]["x-custom"], seen["headers"]["cookie"]) == ("v", "a=b; c=d=e")
    assert (seen["headers"]["x-appwrite-trigger"], seen["headers"]["x-appwrite-execution-id"]) == (
        "http",
        execution["$id"],
    )
    assert seen["headers"]["x-appwrite-key"].startswith(("ephemeral_", "dynamic_"))
    assert seen["headers"]["x-appwrite-client-ip"]
    assert "x-custom" not in {header["name"] for header in execution["requestHeaders"]}
    answered = {header["name"]: header["value"] for header in execution["responseHeaders"]}
    assert (answered["x-own"], answered["x-appwrite-execution-id"]) == ("yes", execution["$id"])
    stored = sdk.call("getExecution", functionId=echo, executionId=execution["$id"])
    assert stored["responseBody"] == ""
    assert {header["name"] for header in stored["responseHeaders"]} <= {"content-type", "content-length"}
    assert '"path":"/a/b"' in stored["logs"]
    assert '"path":"/a/b"' in stored["errors"]


@pytest.mark.behaviours(93, 94, 96)
def test_execution_status_follows_the_answer_of_the_code(sdk: Sdk, echo: str) -> None:
    assert execute(sdk, echo, headers={"x-status": "400"})["status"] == "completed"
    failed = execute(sdk, echo, headers={"x-status": "500"})
    assert (failed["status"], failed["responseStatusCode"]) == ("failed", 500)
    thrown = execute(sdk, echo, headers={"x-wish": "throw"})
    assert (thrown["status"], thrown["responseStatusCode"]) == ("failed", 500)
    assert "as wished" in thrown["errors"]
    assert execute(sdk, echo, method="HEAD")["responseBody"] == ""


@pytest.mark.behaviours(111)
def test_output_over_a_million_characters_keeps_its_end(sdk: Sdk, echo: str) -> None:
    execution = execute(sdk, echo, headers={"x-wish": "shout"})

    assert len(execution["logs"]) <= 1_000_000
    assert execution["logs"].startswith("[WARNING] Logs truncated")
    assert execution["errors"].startswith("[WARNING] Errors truncated")
    assert execution["logs"].rstrip().endswith("end")


@pytest.mark.behaviours(110, 112)
def test_timeout_ends_the_code_and_logging_can_be_off(sdk: Sdk, tmp_path: Path) -> None:
    function_id = create_function(sdk, timeout=2, logging=False)
    deploy(sdk, function_id, code.archive(tmp_path, code.echo()))

    execution = execute(sdk, function_id, headers={"x-wish": "sleep"})
    assert (execution["status"], execution["responseStatusCode"]) == ("failed", 500)
    sdk.call("update", functionId=function_id, name="fn", timeout=60, logging=False)
    silent = execute(sdk, function_id)
    assert silent["status"] == "completed"
    assert silent["logs"] == silent["errors"] == ""


@pytest.mark.behaviours(114, 124)
def test_asynchronous_execution_runs_and_can_be_deleted(sdk: Sdk, echo: str) -> None:
    execution = execute(sdk, echo, **{"async": True}, body="later", headers={"x-custom": "v"})
    assert (execution["status"], execution["responseStatusCode"], execution["responseBody"]) == ("waiting", 0, "")

    done = ended(sdk, echo, execution["$id"])

    assert (done["status"], done["responseStatusCode"], done["responseBody"]) == ("completed", 200, "")
    seen = json.loads(done["logs"])
    assert (seen["body"], seen["headers"]["x-custom"]) == ("later", "v")
    sdk.call("deleteExecution", functionId=echo, executionId=execution["$id"])
    with pytest.raises(SdkError) as error:
        sdk.call("getExecution", functionId=echo, executionId=execution["$id"])
    assert error.value.type == "execution_not_found"


@pytest.mark.behaviours(118, 125)
def test_scheduled_execution_can_be_deleted(sdk: Sdk, echo: str) -> None:
    at = (datetime.now(UTC) + timedelta(hours=10)).replace(second=0, microsecond=0)
    execution = execute(sdk, echo, **{"async": True}, scheduledAt=at.isoformat())

    assert (execution["status"], execution["trigger"]) == ("scheduled", "schedule")
    assert execution["scheduledAt"] == at.isoformat(timespec="milliseconds")
    sdk.call("deleteExecution", functionId=echo, executionId=execution["$id"])


def next_minute(after: datetime) -> datetime:
    """Return the first full minute after a moment."""
    return after.replace(second=0, microsecond=0) + timedelta(minutes=1)


@pytest.mark.timeout(600)
@pytest.mark.behaviours(119, 130, 131, 132)
@pytest.mark.parametrize("sdk", ["appwrite==27.0.0"], indirect=True)  # one SDK is enough: the test takes minutes
def test_scheduled_executions_run_at_their_time(sdk: Sdk, tmp_path: Path) -> None:
    function_id, idle = create_function(sdk, schedule="* * * * *"), create_function(sdk, schedule="* * * * *")
    deploy(sdk, function_id, code.archive(tmp_path, code.echo()))
    at = next_minute(after=datetime.now(UTC) + timedelta(seconds=75))  # the minimum is a minute; machines are slow
    sent = {"path": "/later", "method": "PUT", "headers": {"x-custom": "v"}, "body": "kept"}
    once = execute(sdk, function_id, **{"async": True}, scheduledAt=at.isoformat(), **sent)

    done = ended(sdk, function_id, once["$id"], 300)

    assert (done["status"], done["trigger"]) == ("completed", "schedule")
    seen = json.loads(done["logs"])
    assert (seen["path"], seen["method"], seen["body"]) == ("/later", "PUT", "kept")
    assert seen["headers"]["x-custom"] == "v"

    def others() -> list[dict[str, Any]]:
        rows = sdk.call("listExecutions", functionId=function_id)["executions"]
        return [row for row in rows if row["$id"] != once["$id"]]

    fired = eventually(others, 90)
    assert {(row["trigger"], row["requestMethod"], row["requestPath"]) for row in fired} == {("schedule", "POST", "/")}
    assert sdk.call("listExecutions", functionId=idle)["total"] == 0
    sdk.call("update", functionId=function_id, name="fn")
    assert sdk.call("get", functionId=function_id)["schedule"] == ""


@pytest.mark.behaviours(120, 129)
def test_executions_are_listed(sdk: Sdk, tmp_path: Path) -> None:
    function_id = create_function(sdk)
    deploy(sdk, function_id, code.archive(tmp_path, code.echo()))
    made = [execute(sdk, function_id, method=method)["$id"] for method in ("GET", "POST", "GET")]

    listed = sdk.call("listExecutions", functionId=function_id)
    assert [row["$id"] for row in listed["executions"]] == made
    gets = sdk.call(
        "listExecutions",
        functionId=function_id,
        queries=['{"method":"equal","attribute":"requestMethod","values":["GET"]}'],
    )
    assert [row["$id"] for row in gets["executions"]] == [made[0], made[2]]


@pytest.mark.behaviours(140, 150, 182)
def test_environment_has_variables_and_reserved_names(sdk: Sdk, tmp_path: Path) -> None:
    function_id = create_function(sdk, name="named")
    deployment = deploy(sdk, function_id, code.archive(tmp_path, code.echo()))
    execute(sdk, function_id)
    for key, value in (("X", "2"), ("APPWRITE_FUNCTION_ID", "forged")):
        sdk.call("createVariable", functionId=function_id, variableId="unique()", key=key, value=value)

    env = body(execute(sdk, function_id))["env"]

    assert env["X"] == "2"
    assert env["APPWRITE_FUNCTION_ID"] == function_id
    assert env["APPWRITE_FUNCTION_NAME"] == "named"
    assert env["APPWRITE_FUNCTION_DEPLOYMENT"] == deployment["$id"]
    assert (env["APPWRITE_FUNCTION_RUNTIME_NAME"], env["APPWRITE_FUNCTION_RUNTIME_VERSION"]) == ("Node.js", "22")
    for name in ("PROJECT_ID", "CPUS", "MEMORY", "API_ENDPOINT"):
        assert env[f"APPWRITE_FUNCTION_{name}"]
    assert env["APPWRITE_VERSION"]
    assert env["APPWRITE_REGION"]


@pytest.mark.behaviours(183)
def test_changed_specification_takes_effect_at_once(sdk: Sdk, tmp_path: Path) -> None:
    function_id = create_function(sdk)
    deploy(sdk, function_id, code.archive(tmp_path, code.echo()))
    assert body(execute(sdk, function_id))["env"]["APPWRITE_FUNCTION_MEMORY"] == "8192"
    name = "specification" if sdk.name == "appwrite==15.3.0" else "runtimeSpecification"

    sdk.call("update", functionId=function_id, name="fn", **{name: "s-1vcpu-1gb"})

    env = body(execute(sdk, function_id))["env"]
    assert (env["APPWRITE_FUNCTION_MEMORY"], env["APPWRITE_FUNCTION_CPUS"]) == ("1024", "1")


@pytest.mark.behaviours(83, 177)
def test_usage_counts_and_a_deleted_deployment_no_longer_runs(
    sdk: Sdk, annals_instance: AnnalsInstance, tmp_path: Path
) -> None:
    function_id = create_function(sdk)
    deployment = deploy(sdk, function_id, code.archive(tmp_path, code.echo()))
    execute(sdk, function_id, headers={"x-wish": "second"})

    key = Client(annals_instance.endpoint, annals_instance.headers)  # the SDKs no longer have the operation
    usage = key.call("GET", f"/functions/{function_id}/usage", params={"range": "24h"})
    assert usage["executionsTotal"] == usage["executions"][-1]["value"] == 1
    assert usage["executionsTimeTotal"] >= 1000
    assert usage["executionsMbSecondsTotal"] >= 8192
    sdk.call("deleteDeployment", functionId=function_id, deploymentId=deployment["$id"])
    assert sdk.call("get", functionId=function_id)["deploymentId"] == ""
    with pytest.raises(SdkError) as error:
        execute(sdk, function_id)
    assert (error.value.code, error.value.type) == (404, "deployment_not_found")
