"""Functions, their deployments, variables and executions over the wire, compared with a model in memory."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from annals.app.wire import wire_date
from annals.app.wiring import open_services
from annals.domain.ports import Outcome as Ended
from annals.settings import Settings
from annals.telemetry.metrics import Metrics
from tests.integration.edge import given
from tests.integration.edge.client import Reply
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.model import Execution, Outcome, Project, Variable
from tests.integration.edge.model_world import World

FUNCTIONS = st.sampled_from(["f1", "f2", "f3"])
VARIABLES = st.sampled_from(["v1", "v2", "v3"])
NAMES = st.sampled_from(["A", "B", "C"])
CREATED = st.fixed_dictionaries(
    {"name": NAMES, "entrypoint": st.sampled_from(["", "index.js", "index.js"])},
    optional={"timeout": st.sampled_from([60, 900]), "enabled": st.booleans(), "commands": st.sampled_from(["", "x"])},
)
UPDATED = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "entrypoint": st.sampled_from(["", "index.js", "main.js"]),
        "timeout": st.sampled_from([60, 900]),
        "enabled": st.booleans(),
        "commands": st.sampled_from(["", "x"]),
        "logging": st.booleans(),
    },
)
CHANGED = st.fixed_dictionaries({"key": NAMES}, optional={"value": NAMES, "secret": st.booleans()})

ON = {
    "deployments": ["activate", "cancel_build", "duplicate", "delete_deployment"],
    "executions": ["cancel_execution", "delete_execution"],
    "variables": ["remove_variable"],
}
"""Operations on a child that the path names."""


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    executor, opened = FakeExecutor(), AsyncExitStack()
    configured = Settings(data=tmp_path, database_url=database_url, functions_create_quota=0)
    with asyncio.Runner() as runner:
        services = runner.run(opened.enter_async_context(open_services(configured, executor, Metrics())))
        yield World(runner, services, executor)
        runner.run(opened.aclose())


class Machine(RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.model = world, Project()
        self.name, self.client = world.project()
        self.touched: str | None = None

    def ask(self, reply: Coroutine[Any, Any, Reply], expected: Outcome) -> Any:
        """Return the answer's JSON, which must equal the model's."""
        answer = self.world.runner.run(reply)
        assert (answer.error if answer.status >= 400 else (answer.status, "")) == expected, answer.body
        return answer.json if answer.body and not expected[1] else None

    def pairs(self, kind: str) -> list[tuple[str, str]]:
        """Return every child of a kind with its function, the newest first, so that operations follow on recent
        ones."""
        functions = self.model.functions.items()
        return [(name, child) for name, function in functions for child in getattr(function, kind)][::-1]

    def waiting(self) -> list[tuple[str, str]]:
        """Return every deployment that waits for its build."""
        functions = self.model.functions
        return [
            (name, one)
            for name, one in self.pairs("deployments")
            if functions[name].deployments[one].status == "waiting"
        ]

    def some(self, data: st.DataObject) -> str:
        """Return an existing function."""
        self.touched = data.draw(st.sampled_from(list(self.model.functions)[::-1]))
        return self.touched

    @initialize(activate=st.booleans())
    def begin(self, activate: bool) -> None:
        """Begin with a runnable deployment that is newer than an open build."""
        self.create("f1", {"name": "A", "entrypoint": "index.js"})
        self.deploy("f1", activate=True, succeeds=None)
        self.deploy("f1", activate=activate, succeeds=True)
        self.activate("f1", next(reversed(self.model.functions["f1"].deployments)))

    @rule(function_id=FUNCTIONS, sent=CREATED)
    def create(self, function_id: str, sent: dict[str, Any]) -> None:
        self.touched = function_id
        expected = self.model.create(function_id, sent)
        self.ask(self.client.post("/v1/functions", functionId=function_id, runtime="node-22", **sent), expected)

    @rule(function_id=FUNCTIONS, sent=UPDATED)
    def update(self, function_id: str, sent: dict[str, Any]) -> None:
        self.touched = function_id
        self.ask(self.client.put(f"/v1/functions/{function_id}", **sent), self.model.update(function_id, sent))

    @precondition(lambda self: len(self.model.functions) > 1)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        function_id = self.some(data)
        self.ask(self.client.delete(f"/v1/functions/{function_id}"), self.model.delete(function_id))

    @precondition(lambda self: self.model.functions)
    @rule(data=st.data(), activate=st.booleans(), succeeds=st.sampled_from([None, None, True, False]))
    def upload(self, data: st.DataObject, activate: bool, succeeds: bool | None) -> None:
        self.deploy(self.some(data), activate=activate, succeeds=succeeds)

    def deploy(self, function_id: str, *, activate: bool, succeeds: bool | None) -> None:
        """Create a deployment whose build succeeds or fails, at once or later."""
        fields = {"activate": str(activate).lower()}
        path = f"/v1/functions/{function_id}/deployments"
        made = self.ask(self.client.upload(path, fields, file=given.SOURCE), self.model.may_upload(function_id))
        if made is not None:
            self.model.functions[function_id].new_deployment(made["$id"], activate=activate)
            if succeeds is not None:
                self.finish(function_id, made["$id"], succeeds=succeeds)

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), succeeds=st.sampled_from([True, True, True, False]))
    def build(self, data: st.DataObject, succeeds: bool) -> None:
        self.touched, deployment_id = data.draw(st.sampled_from(self.waiting()))
        self.finish(self.touched, deployment_id, succeeds=succeeds)

    def finish(self, function_id: str, deployment_id: str, *, succeeds: bool) -> None:
        self.world.runner.run(given.built(self.world.services, self.name, deployment_id, succeeds=succeeds))
        self.model.functions[function_id].built(deployment_id, succeeds=succeeds)

    def activate(self, function_id: str, deployment_id: str) -> None:
        path = f"/v1/functions/{function_id}/deployment"
        expected = self.model.activate(function_id, deployment_id)
        self.ask(self.client.patch(path, deploymentId=deployment_id), expected)

    def cancel_build(self, function_id: str, deployment_id: str) -> None:
        path = f"/v1/functions/{function_id}/deployments/{deployment_id}/status"
        self.ask(self.client.patch(path), self.model.cancel_build(function_id, deployment_id))

    def duplicate(self, function_id: str, former: str) -> None:
        path = f"/v1/functions/{function_id}/deployments/duplicate"
        made = self.ask(self.client.post(path, deploymentId=former), self.model.deployment(function_id, former, 202))
        if made is not None:
            function = self.model.functions[function_id]
            function.new_deployment(made["$id"], activate=function.deployments[former].activate)

    def delete_deployment(self, function_id: str, deployment_id: str) -> None:
        path = f"/v1/functions/{function_id}/deployments/{deployment_id}"
        self.ask(self.client.delete(path), self.model.delete_deployment(function_id, deployment_id))

    def remove_variable(self, function_id: str, variable_id: str) -> None:
        path = f"/v1/functions/{function_id}/variables/{variable_id}"
        self.ask(self.client.delete(path), self.model.remove_variable(function_id, variable_id))

    def cancel_execution(self, function_id: str, execution_id: str) -> None:
        path = f"/v1/functions/{function_id}/executions/{execution_id}/status"
        self.ask(self.client.patch(path), self.model.cancel_execution(function_id, execution_id))

    def delete_execution(self, function_id: str, execution_id: str) -> None:
        path = f"/v1/functions/{function_id}/executions/{execution_id}"
        self.ask(self.client.delete(path), self.model.delete_execution(function_id, execution_id))

    @precondition(lambda self: self.pairs("deployments"))
    @rule(data=st.data(), operation=st.sampled_from(ON["deployments"]))
    def change_deployment(self, data: st.DataObject, operation: str) -> None:
        self.touched, deployment_id = data.draw(st.sampled_from(self.pairs("deployments")))
        getattr(self, operation)(self.touched, deployment_id)

    @precondition(lambda self: self.pairs("executions"))
    @rule(data=st.data(), operation=st.sampled_from(ON["executions"]))
    def change_execution(self, data: st.DataObject, operation: str) -> None:
        self.touched, execution_id = data.draw(st.sampled_from(self.pairs("executions")))
        getattr(self, operation)(self.touched, execution_id)

    @rule(data=st.data(), function_id=FUNCTIONS, kind=st.sampled_from(sorted(ON)))
    def ask_through_another(self, data: st.DataObject, function_id: str, kind: str) -> None:
        """Ask about a child through a function that is missing or not its parent."""
        others = [child for name, child in self.pairs(kind) if name != function_id]
        self.touched, child = function_id, data.draw(st.sampled_from([*others, "nobody"]))
        getattr(self, data.draw(st.sampled_from(ON[kind])))(function_id, child)

    @precondition(lambda self: self.model.functions)
    @rule(data=st.data(), variable_id=VARIABLES, key=NAMES, value=NAMES, secret=st.booleans())
    def add_variable(self, data: st.DataObject, variable_id: str, key: str, value: str, secret: bool) -> None:
        function_id = self.some(data)
        sent = {"key": key, "value": value, "secret": secret}
        expected = self.model.add_variable(function_id, variable_id, Variable(**sent))  # type: ignore[arg-type]
        path = f"/v1/functions/{function_id}/variables"
        self.ask(self.client.post(path, variableId=variable_id, **sent), expected)

    @precondition(lambda self: self.pairs("variables"))
    @rule(data=st.data(), sent=CHANGED, removed=st.sampled_from([False, False, True]))
    def change_variable(self, data: st.DataObject, sent: dict[str, Any], removed: bool) -> None:
        self.touched, variable_id = data.draw(st.sampled_from(self.pairs("variables")))
        if removed:
            self.remove_variable(self.touched, variable_id)
            return
        path = f"/v1/functions/{self.touched}/variables/{variable_id}"
        self.ask(self.client.put(path, **sent), self.model.change_variable(self.touched, variable_id, sent))

    @precondition(lambda self: self.model.functions)
    @rule(data=st.data(), code=st.sampled_from([200, 404, 500]), when=st.sampled_from(["now", "soon", "later"]))
    def execute(self, data: st.DataObject, code: int, when: str) -> None:
        function_id = self.some(data)
        self.world.executor.answer = lambda _run: Ended(status_code=code, run_seconds=0.1)
        expected = self.model.may_execute(function_id, 201 if when == "now" else 202)
        at = self.world.services.now().replace(second=0, microsecond=0) + timedelta(hours=2)
        later = {"scheduledAt": wire_date(at)} if when == "later" else {}
        reply = given.execute(self.client, function_id, async_=when != "now", **later)
        made = self.ask(reply, expected)
        if made is not None:
            status = {"now": "completed" if code < 500 else "failed", "soon": "waiting", "later": "scheduled"}[when]
            trigger = "schedule" if when == "later" else "http"
            known = Execution(status, trigger, code if when == "now" else 0)
            self.model.functions[function_id].executions[made["$id"]] = known

    @rule(name=NAMES, limit=st.integers(1, 3), offset=st.integers(0, 2))
    def list_by_name(self, name: str, limit: int, offset: int) -> None:
        fitting = [one for one, function in self.model.functions.items() if function.fields["name"] == name]
        queries = [
            given.query("equal", "name", name),
            given.query("limit", None, limit),
            given.query("offset", None, offset),
        ]
        shown = self.ask(self.client.get("/v1/functions", queries), (200, ""))
        assert [row["$id"] for row in shown["functions"]] == fitting[offset : offset + limit]
        assert shown["total"] == len(fitting)

    @precondition(lambda self: self.model.functions)
    @rule(data=st.data(), status=st.sampled_from(["waiting", "scheduled", "completed", "failed"]))
    def list_by_status(self, data: st.DataObject, status: str) -> None:
        function = self.model.functions.get(function_id := self.some(data))
        queries = [given.query("equal", "status", status), given.query("orderDesc", "$createdAt")]
        reply = self.client.get(f"/v1/functions/{function_id}/executions", queries)
        shown = self.ask(reply, (200, "") if function else (404, "function_not_found"))
        if function is not None:
            fitting = [one for one, execution in function.executions.items() if execution.status == status]
            assert [row["$id"] for row in shown["executions"]] == fitting[::-1]

    @invariant()
    def last_touched_function_equals_the_model(self) -> None:
        if (touched := self.touched) is None:
            return
        function, path = self.model.functions.get(touched), f"/v1/functions/{touched}"
        shown = self.ask(self.client.get(path), (200, "") if function else (404, "function_not_found"))
        if function is None:
            return
        assert {name: shown[name] for name in function.shown} == function.shown
        variables = [(one.key, one.shown, one.secret) for one in function.variables.values()]
        assert [(one["key"], one["value"], one["secret"]) for one in shown["vars"]] == variables
        deployments = self.ask(self.client.get(f"{path}/deployments", [given.query("limit", None, 100)]), (200, ""))
        known = [(one, made.status, made.activate) for one, made in function.deployments.items()]
        assert [(row["$id"], row["status"], row["activate"]) for row in deployments["deployments"]] == known
        executions = self.ask(self.client.get(f"{path}/executions", [given.query("limit", None, 100)]), (200, ""))
        reported = [(one, ran.status, ran.trigger) for one, ran in function.executions.items()]
        assert [(row["$id"], row["status"], row["trigger"]) for row in executions["executions"]] == reported
        assert executions["total"] == len(reported)

    def teardown(self) -> None:
        shown = self.ask(self.client.get("/v1/functions"), (200, ""))
        assert [row["$id"] for row in shown["functions"]] == list(self.model.functions)
        usage = self.ask(self.client.get("/v1/functions/usage"), (200, ""))
        assert usage["functionsTotal"] == len(self.model.functions)
        assert usage["deploymentsTotal"] == sum(len(one.deployments) for one in self.model.functions.values())


@pytest.mark.timeout(1200)
def test_every_sequence_of_requests_is_answered_as_the_model_predicts(world: World) -> None:
    bounded = settings(
        max_examples=16,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a failure is reported at length, but within the time limit
    )
    run_state_machine_as_test(lambda: Machine(world), settings=bounded)  # type: ignore[arg-type]  # takes what makes one
