"""Aggregates in the initial states of tests."""

from typing import Any

from annals.domain.deployment import Deployment
from annals.domain.execution import CallRequest, Execution, RunRecord
from annals.domain.function import Configuration, Function
from annals.domain.ports import Artefact
from annals.domain.variables import Variable

SOURCE = Artefact(key="sources/p/d", digest="aa", size=10)
RAN = RunRecord(deployment_id="d", function_version=1, environment_digest="e", specification="s")
ARTEFACT = Artefact(key="artefacts/p/d", digest="bb", size=20)


def configuration(**fields: Any) -> Configuration:
    given: dict[str, Any] = {
        "name": "f",
        "runtime": "node-22",
        "build_specification": "s-1vcpu-512mb",
        "runtime_specification": "s-1vcpu-512mb",
    }
    return Configuration(**{**given, **fields})


def given_function(**fields: Any) -> Function:
    function = Function.create(None, project_id="p", function_id="f", configuration=configuration(**fields))
    function.collect_events()
    return function


def begun(former: Deployment | None = None, **fields: Any) -> Deployment:
    """Return a deployment that waits for its source, with its event still to be recorded."""
    given: dict[str, Any] = {
        "project_id": "p",
        "function_id": "f",
        "function_incarnation": 1,
        "deployment_id": "d",
        "type": "manual",
        "entrypoint": "index.js",
        "commands": "",
        "activate": True,
        "size": 10,
    }
    return Deployment.begin(former, **{**given, **fields})


def given_deployment(status: str = "waiting", *, activate: bool = True, deployment_id: str = "d") -> Deployment:
    deployment = begun(activate=activate, deployment_id=deployment_id)
    if status != "uploading":
        deployment.store_source(SOURCE)
    if status in {"processing", "building", "ready", "failed"}:
        deployment.claim_build("w1")
    if status in {"building", "ready", "failed"}:
        deployment.start_build(1)
    if status == "ready":
        deployment.complete_build(
            1, ARTEFACT, milliseconds=1500, specification="s-1vcpu-512mb", logs_digest="", logs_size=0
        )
    if status == "failed":
        deployment.fail_build(1, "command_failed", "exit 1")
    if status == "canceled":
        deployment.cancel_build(0)
    deployment.collect_events()
    return deployment


def requested(**fields: Any) -> Execution:
    """Return an execution whose request is still to be recorded."""
    given: dict[str, Any] = {
        "project_id": "p",
        "function_id": "f",
        "function_incarnation": 1,
        "function_version": 1,
        "execution_id": "e",
        "deployment_id": "d",
        "trigger": "http",
        "request": CallRequest(method="POST", path="/"),
    }
    return Execution.request_run(None, **{**given, **fields})


def given_execution(status: str = "waiting", **fields: Any) -> Execution:
    execution = requested(worker="api-1" if status == "processing" else "", **fields)
    execution.collect_events()
    return execution


def variable(variable_id: str = "v", key: str = "K", *, secret: bool = False, fingerprint: str = "1") -> Variable:
    return Variable(variable_id=variable_id, key=key, sealed="sealed", secret=secret, fingerprint=fingerprint)
