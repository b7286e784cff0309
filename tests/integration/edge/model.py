"""A model of one project's functions after the contract, in memory: the answers, and the state afterwards."""

from dataclasses import dataclass, field
from typing import Any

Outcome = tuple[int, str]
NO_FUNCTION: Outcome = (404, "function_not_found")
NO_DEPLOYMENT: Outcome = (404, "deployment_not_found")
NO_VARIABLE: Outcome = (404, "variable_not_found")
NO_EXECUTION: Outcome = (404, "execution_not_found")
TAKEN: Outcome = (409, "variable_already_exists")
_DEFAULTS: dict[str, Any] = {"enabled": True, "timeout": 15, "commands": "", "execute": [], "logging": True}
_KEPT = ("entrypoint",)
_BUILT_IN = ("name", "entrypoint", "commands")
"""A change of one of these makes the active deployment outdated."""


@dataclass
class Deployment:
    activate: bool
    status: str = "waiting"


@dataclass
class Variable:
    key: str
    value: str
    secret: bool

    @property
    def shown(self) -> str:
        return "" if self.secret else self.value


@dataclass
class Execution:
    status: str
    trigger: str
    code: int


@dataclass
class Function:
    """The children are in the order of their creation."""

    fields: dict[str, Any]
    live: bool = True
    active: str = ""
    deployments: dict[str, Deployment] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)

    @property
    def shown(self) -> dict[str, Any]:
        """Return the answer of a GET without ids, dates and constant fields."""
        latest = next(reversed(self.deployments), "")
        return {
            **self.fields,
            "live": self.live,
            "deploymentId": self.active,
            "latestDeploymentId": latest,
            "latestDeploymentStatus": self.deployments[latest].status if latest else "",
        }

    def new_deployment(self, deployment_id: str, *, activate: bool) -> None:
        """Add a deployment. If it is to be activated, no other deployment is any more."""
        if activate:
            for other in self.deployments.values():
                other.activate = False
        self.deployments[deployment_id] = Deployment(activate)

    def built(self, deployment_id: str, *, succeeds: bool) -> None:
        deployment = self.deployments[deployment_id]
        deployment.status = "ready" if succeeds else "failed"
        order = list(self.deployments)
        newer_is_active = self.active != "" and order.index(self.active) > order.index(deployment_id)
        if succeeds and deployment.activate and not newer_is_active:
            self.active, self.live = deployment_id, True


class Project:
    """Answers writes with status and error type. A refused write changes nothing."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}

    def create(self, function_id: str, sent: dict[str, Any]) -> Outcome:
        if function_id in self.functions:
            return 409, "function_already_exists"
        self.functions[function_id] = Function({**_DEFAULTS, "entrypoint": "", **sent})
        return 201, ""

    def update(self, function_id: str, sent: dict[str, Any]) -> Outcome:
        if (function := self.functions.get(function_id)) is None:
            return NO_FUNCTION
        kept = {name: function.fields[name] for name in _KEPT if not sent.get(name)}
        fields = {**_DEFAULTS, **sent, **kept}
        function.live = all(fields[name] == function.fields[name] for name in _BUILT_IN)
        function.fields = fields
        return 200, ""

    def delete(self, function_id: str) -> Outcome:
        return (204, "") if self.functions.pop(function_id, None) else NO_FUNCTION

    def may_upload(self, function_id: str) -> Outcome:
        if (function := self.functions.get(function_id)) is None:
            return NO_FUNCTION
        return (202, "") if function.fields["entrypoint"] else (404, "function_entrypoint_missing")

    def deployment(self, function_id: str, deployment_id: str, success: int) -> Outcome:
        """Return True if the deployment exists."""
        if (function := self.functions.get(function_id)) is None:
            return NO_FUNCTION
        return (success, "") if deployment_id in function.deployments else NO_DEPLOYMENT

    def activate(self, function_id: str, deployment_id: str) -> Outcome:
        found = self.deployment(function_id, deployment_id, 200)
        if found[1]:
            return found
        function = self.functions[function_id]
        if function.deployments[deployment_id].status != "ready":
            return 400, "build_not_ready"
        function.active = deployment_id
        return found

    def cancel_build(self, function_id: str, deployment_id: str) -> Outcome:
        found = self.deployment(function_id, deployment_id, 200)
        if found[1]:
            return found
        deployment = self.functions[function_id].deployments[deployment_id]
        if deployment.status in {"ready", "failed"}:
            return 400, "build_already_completed"
        deployment.status = "canceled"
        return found

    def delete_deployment(self, function_id: str, deployment_id: str) -> Outcome:
        found = self.deployment(function_id, deployment_id, 204)
        if not found[1]:
            function = self.functions[function_id]
            del function.deployments[deployment_id]
            function.active = "" if function.active == deployment_id else function.active
        return found

    def add_variable(self, function_id: str, variable_id: str, variable: Variable) -> Outcome:
        if (function := self.functions.get(function_id)) is None:
            return NO_FUNCTION
        taken = any(variable_id in one.variables for one in self.functions.values())
        if taken or any(one.key == variable.key for one in function.variables.values()):
            return TAKEN
        function.variables[variable_id] = variable
        function.live = False
        return 201, ""

    def change_variable(self, function_id: str, variable_id: str, sent: dict[str, Any]) -> Outcome:
        if (function := self.functions.get(function_id)) is None:
            return NO_FUNCTION
        if (variable := function.variables.get(variable_id)) is None:
            return NO_VARIABLE
        if variable.secret and sent.get("secret") is False:
            return 400, "variable_cannot_unset_secret"
        if any(one.key == sent["key"] for other, one in function.variables.items() if other != variable_id):
            return TAKEN
        changed = Variable(**{"key": variable.key, "value": variable.value, "secret": variable.secret, **sent})
        function.live = False
        function.variables[variable_id] = changed
        return 200, ""

    def remove_variable(self, function_id: str, variable_id: str) -> Outcome:
        if (function := self.functions.get(function_id)) is None:
            return NO_FUNCTION
        if function.variables.pop(variable_id, None) is None:
            return NO_VARIABLE
        function.live = False
        return 204, ""

    def may_execute(self, function_id: str, success: int) -> Outcome:
        if (function := self.functions.get(function_id)) is None:
            return NO_FUNCTION
        return (success, "") if function.active else NO_DEPLOYMENT

    def cancel_execution(self, function_id: str, execution_id: str) -> Outcome:
        if (function := self.functions.get(function_id)) is None:
            return NO_FUNCTION
        if (execution := function.executions.get(execution_id)) is None:
            return NO_EXECUTION
        if execution.status in {"completed", "failed"}:
            return 400, "execution_already_ended"
        execution.status = "failed"
        return 200, ""

    def delete_execution(self, function_id: str, execution_id: str) -> Outcome:
        if (function := self.functions.get(function_id)) is None:
            return NO_FUNCTION
        if (execution := function.executions.get(execution_id)) is None:
            return NO_EXECUTION
        if execution.status == "waiting":
            return 400, "execution_in_progress"
        del function.executions[execution_id]
        return 204, ""
