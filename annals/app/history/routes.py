"""The operations on what happened."""

from collections.abc import Callable
from typing import Any

from eventsourcing.domain import CanInitAggregate

from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.routing import Operation
from annals.app.history import events, schemas, streams
from annals.app.history.follow import follow
from annals.app.history.kinds import EventType, Resource
from annals.app.history.presenting import Presenter
from annals.app.identity.scopes import EVENTS_READ, PROJECTS_READ
from annals.app.parameters import Boolean, IntegerRange, ListQueries, Parameters, Text, Uid, optional, required
from annals.app.queries.page import Page
from annals.domain.base import Key
from annals.domain.deployment import Deployment
from annals.domain.errors import (
    ArgumentInvalid,
    DeploymentNotFound,
    DomainError,
    ExecutionNotFound,
    FunctionNotFound,
    ProjectNotFound,
    TeamNotFound,
    UserNotFound,
    VariableNotFound,
)
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.team import Team
from annals.domain.user import User

_MOST = 2**62
_TOTAL = optional(Boolean(loose=True), True)
FEED = Parameters(
    queries=optional(ListQueries(events.LIST), Page()),
    total=_TOTAL,
    type=optional(EventType()),
    resource=optional(Resource()),
    actor=optional(Text(128)),
    after=optional(IntegerRange(0, _MOST)),
)
ONE = Parameters(position=required(IntegerRange(1, _MOST)))


async def feed(call: Call) -> Answer:
    """A page of the project's events, or all that follow a position, for who accepts an event stream."""
    values = call.values
    wanted = events.EventFilter(values["type"], values["resource"], values["actor"])
    if "text/event-stream" in call.header(b"accept"):
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        return Answer(200, headers=headers, stream=follow(call, await _begin(call), wanted))
    page: Page = values["queries"]
    if values["after"] is not None and not page.cursor:
        wanted = wanted._replace(after=values["after"])
    found = await events.read_feed(call, page, wanted, counted=values["total"])
    shown = await Presenter(call.services.database).events(found.events)
    return json_answer({"total": found.total, "events": shown})


async def get(call: Call) -> Answer:
    recorded_event = await events.read_event(call, call.values["position"])
    changes = await streams.changes_of(call.services.log.reader, recorded_event)
    (shown,) = await (await Presenter.of_call(call)).with_changes([(recorded_event, changes)])
    return json_answer(shown)


async def tree(call: Call) -> Answer:
    branches = await events.read_branches(call, call.values["position"])
    shown = await Presenter(call.services.database).events(branches.events)
    nodes = {
        recorded_event.position: schemas.NodeModel(event, [])
        for recorded_event, event in zip(branches.events, shown, strict=True)
    }
    roots: list[schemas.NodeModel] = []
    for position, node in nodes.items():
        cause = nodes.get(node.event.causation or 0) if node.event.causation != position else None
        (roots if cause is None else cause.caused).append(node)
    return json_answer(schemas.TreeModel(branches.correlation, len(nodes), branches.truncated, roots))


def _history(
    key: Callable[[str, dict[str, Any]], Key],
    missing: type[DomainError],
    about: Callable[[dict[str, Any]], Callable[[Any], bool]] | None = None,
) -> Callable[[Call], Any]:
    """The handler of one kind of resource's history; `key` finds it by project and path."""

    async def history(call: Call) -> Answer:
        values = call.values
        found = await streams.read_history(
            call,
            key(call.project_id, values),
            values["queries"],
            missing,
            about=None if about is None else about(values),
        )
        shown = await (await Presenter.of_call(call)).with_changes(found.events)
        return json_answer({"total": found.total if values["total"] else 0, "events": shown})

    return history


async def _begin(call: Call) -> int:
    """Where to follow from: what the client has, what it asks for, or the present.

    Raises ArgumentInvalid for what is no position of this log: to go on from elsewhere would leave events out unseen.
    """
    newest = await call.services.log.reader.position()
    name, after = "after", call.values["after"]
    if last := call.header(b"last-event-id"):
        if not (last.isdecimal() and len(last) < 19):
            raise ArgumentInvalid("Invalid `Last-Event-ID` header: Value must be the id of an event of this feed")
        name, after = "Last-Event-ID", int(last)
    if after is not None and after > newest:
        raise ArgumentInvalid(f"Invalid `{name}` param: {after} lies in the future, the log ends at {newest}.")
    return newest if after is None else after


def _table(**path: Any) -> Parameters:
    return Parameters(**path, queries=optional(ListQueries(streams.LIST), Page()), total=_TOTAL)


def _of_function(values: dict[str, Any]) -> Callable[[Any], bool]:
    """Events of the incarnations that began for this function, given in order."""
    mine = False

    def is_about(event: Any) -> bool:
        nonlocal mine
        if isinstance(event, CanInitAggregate):
            mine = getattr(event, "function_id", "") == values["functionId"]
        return mine

    return is_about


def _of_variable(values: dict[str, Any]) -> Callable[[Any], bool]:
    def is_about(event: Any) -> bool:
        variable = getattr(event, "variable", None)
        own_id = getattr(event, "variable_id", None) if variable is None else variable.variable_id
        return bool(own_id == values["variableId"])

    return is_about


_UID = required(Uid())
_FUNCTION = "/v1/functions/{functionId}"
_function = _history(lambda p, v: Function.key(p, v["functionId"]), FunctionNotFound)
_variable = _history(lambda p, v: Function.key(p, v["functionId"]), VariableNotFound, _of_variable)
_deployment = _history(lambda p, v: Deployment.key(p, v["deploymentId"]), DeploymentNotFound, _of_function)
_execution = _history(lambda p, v: Execution.key(p, v["executionId"]), ExecutionNotFound, _of_function)
_user = _history(lambda p, v: User.key(p, v["userId"]), UserNotFound)
_team = _history(lambda p, v: Team.key(p, v["teamId"]), TeamNotFound)
_project = _history(lambda p, v: Project.key(v.get("projectId", p)), ProjectNotFound)

ROUTES = (
    Operation("GET", "/v1/events", feed, EVENTS_READ, FEED),
    Operation("GET", "/v1/events/{position}", get, EVENTS_READ, ONE),
    Operation("GET", "/v1/events/{position}/tree", tree, EVENTS_READ, ONE),
    Operation("GET", f"{_FUNCTION}/history", _function, EVENTS_READ, _table(functionId=_UID)),
    Operation(
        "GET",
        f"{_FUNCTION}/variables/{{variableId}}/history",
        _variable,
        EVENTS_READ,
        _table(functionId=_UID, variableId=_UID),
    ),
    Operation(
        "GET",
        f"{_FUNCTION}/deployments/{{deploymentId}}/history",
        _deployment,
        EVENTS_READ,
        _table(functionId=_UID, deploymentId=_UID),
    ),
    Operation(
        "GET",
        f"{_FUNCTION}/executions/{{executionId}}/history",
        _execution,
        EVENTS_READ,
        _table(functionId=_UID, executionId=_UID),
    ),
    Operation("GET", "/v1/users/{userId}/history", _user, EVENTS_READ, _table(userId=_UID)),
    Operation("GET", "/v1/teams/{teamId}/history", _team, EVENTS_READ, _table(teamId=_UID)),
    Operation("GET", "/v1/project/history", _project, EVENTS_READ, _table()),
    Operation(
        "GET",
        "/v1/projects/{projectId}/history",
        _project,
        PROJECTS_READ,
        _table(projectId=_UID),
        needs_project=False,
    ),
)
