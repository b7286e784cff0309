"""Executions through the official SDKs, the code really running (behaviours.md F, G, H, K, M)."""

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
    def settled() -> dict[str, Any] | None:
        now: dict[str, Any] = sdk.call("getExecution", functionId=function_id, executionId=execution_id)
        return now if now["status"] in {"completed", "failed"} else None

    found: dict[str, Any] = eventually(settled, seconds)
    return found


def body(execution: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(execution["responseBody"])
    return seen


@pytest.mark.behaviours(90, 91, 92, 95, 108, 113)
def test_code_sees_what_was_sent_and_its_answer_comes_back(sdk: Sdk, echo: str) -> None:
    headers = {"x-custom": "v", "cookie": "a=b; c=d=e"}
    told = execute(sdk, echo, path="/a/b?x=1", method="PATCH", body="hi", headers=headers)

    assert (told["status"], told["responseStatusCode"], told["trigger"]) == ("completed", 200, "http")
    assert (told["requestPath"], told["requestMethod"]) == ("/a/b?x=1", "PATCH")
    assert told["duration"] > 0
    seen = body(told)
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("PATCH", "/a/b", "x=1", "hi")
    assert (seen["headers"]["x-custom"], seen["headers"]["cookie"]) == ("v", "a=b; c=d=e")
    assert (seen["headers"]["x-appwrite-trigger"], seen["headers"]["x-appwrite-execution-id"]) == ("http", told["$id"])
    assert seen["headers"]["x-appwrite-key"].startswith(("ephemeral_", "dynamic_"))
    assert seen["headers"]["x-appwrite-client-ip"]
    assert "x-custom" not in {header["name"] for header in told["requestHeaders"]}
    answered = {header["name"]: header["value"] for header in told["responseHeaders"]}
    assert (answered["x-own"], answered["x-appwrite-execution-id"]) == ("yes", told["$id"])
    stored = sdk.call("getExecution", functionId=echo, executionId=told["$id"])
    assert stored["responseBody"] == ""
    assert {header["name"] for header in stored["responseHeaders"]} <= {"content-type", "content-length"}
    assert '"path":"/a/b"' in stored["logs"]
    assert '"path":"/a/b"' in stored["errors"]


@pytest.mark.behaviours(93, 94, 96)
def test_how_the_code_ends_is_how_the_execution_ends(sdk: Sdk, echo: str) -> None:
    assert execute(sdk, echo, headers={"x-status": "400"})["status"] == "completed"
    failed = execute(sdk, echo, headers={"x-status": "500"})
    assert (failed["status"], failed["responseStatusCode"]) == ("failed", 500)
    thrown = execute(sdk, echo, headers={"x-wish": "throw"})
    assert (thrown["status"], thrown["responseStatusCode"]) == ("failed", 500)
    assert "as wished" in thrown["errors"]
    assert execute(sdk, echo, method="HEAD")["responseBody"] == ""


@pytest.mark.behaviours(111)
def test_output_over_a_million_characters_keeps_its_end(sdk: Sdk, echo: str) -> None:
    told = execute(sdk, echo, headers={"x-wish": "shout"})

    assert len(told["logs"]) <= 1_000_000
    assert told["logs"].startswith("[WARNING] Logs truncated")
    assert told["errors"].startswith("[WARNING] Errors truncated")
    assert told["logs"].rstrip().endswith("end")


@pytest.mark.behaviours(110, 112)
def test_timeout_ends_the_code_and_logging_can_be_off(sdk: Sdk, tmp_path: Path) -> None:
    function_id = create_function(sdk, timeout=2, logging=False)
    deploy(sdk, function_id, code.archive(tmp_path, code.echo()))

    told = execute(sdk, function_id, headers={"x-wish": "sleep"})
    assert (told["status"], told["responseStatusCode"]) == ("failed", 500)
    sdk.call("update", functionId=function_id, name="fn", timeout=60, logging=False)
    silent = execute(sdk, function_id)
    assert silent["status"] == "completed"
    assert silent["logs"] == silent["errors"] == ""


@pytest.mark.behaviours(114, 124)
def test_asynchronous_execution_runs_and_can_be_deleted(sdk: Sdk, echo: str) -> None:
    told = execute(sdk, echo, **{"async": True}, body="later", headers={"x-custom": "v"})
    assert (told["status"], told["responseStatusCode"], told["responseBody"]) == ("waiting", 0, "")

    done = ended(sdk, echo, told["$id"])

    assert (done["status"], done["responseStatusCode"], done["responseBody"]) == ("completed", 200, "")
    seen = json.loads(done["logs"])
    assert (seen["body"], seen["headers"]["x-custom"]) == ("later", "v")
    sdk.call("deleteExecution", functionId=echo, executionId=told["$id"])
    with pytest.raises(SdkError) as refusal:
        sdk.call("getExecution", functionId=echo, executionId=told["$id"])
    assert refusal.value.type == "execution_not_found"


@pytest.mark.behaviours(118, 125)
def test_scheduled_execution_can_be_taken_back(sdk: Sdk, echo: str) -> None:
    at = (datetime.now(UTC) + timedelta(hours=10)).replace(second=0, microsecond=0)
    told = execute(sdk, echo, **{"async": True}, scheduledAt=at.isoformat())

    assert (told["status"], told["trigger"]) == ("scheduled", "schedule")
    assert told["scheduledAt"] == at.isoformat(timespec="milliseconds")
    sdk.call("deleteExecution", functionId=echo, executionId=told["$id"])


def next_minute(after: datetime) -> datetime:
    """The first full one that is later."""
    return after.replace(second=0, microsecond=0) + timedelta(minutes=1)


@pytest.mark.timeout(600)
@pytest.mark.behaviours(119, 130, 131, 132)
@pytest.mark.parametrize("sdk", ["appwrite==27.0.0"], indirect=True)  # the minutes pass alike for all of them
def test_what_is_scheduled_runs_at_its_time(sdk: Sdk, tmp_path: Path) -> None:
    function_id, idle = create_function(sdk, schedule="* * * * *"), create_function(sdk, schedule="* * * * *")
    deploy(sdk, function_id, code.archive(tmp_path, code.echo()))
    at = next_minute(after=datetime.now(UTC) + timedelta(seconds=75))  # a minute is the least, and machines are slow
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
def test_another_size_takes_effect_at_once(sdk: Sdk, tmp_path: Path) -> None:
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

    key = Client(annals_instance.endpoint, annals_instance.headers)  # the SDKs lost the operation
    usage = key.call("GET", f"/functions/{function_id}/usage", params={"range": "24h"})
    assert usage["executionsTotal"] == usage["executions"][-1]["value"] == 1
    assert usage["executionsTimeTotal"] >= 1000
    assert usage["executionsMbSecondsTotal"] >= 8192
    sdk.call("deleteDeployment", functionId=function_id, deploymentId=deployment["$id"])
    assert sdk.call("get", functionId=function_id)["deploymentId"] == ""
    with pytest.raises(SdkError) as refusal:
        execute(sdk, function_id)
    assert (refusal.value.code, refusal.value.type) == (404, "deployment_not_found")
