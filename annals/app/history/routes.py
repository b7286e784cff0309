"""The operations on recorded events: pages, the feed of server-sent events, trees, and histories of resources."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any

from eventsourcing.domain import CanInitAggregate
from litestar.response import ServerSentEventMessage, Stream

from annals.app.edge import operation
from annals.app.edge.answers import Answer, event_answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.event_stream import News, event, follow
from annals.app.history import events, schemas, streams
from annals.app.history.presenting import Presenter
from annals.app.identity.scopes import EVENTS_READ, PROJECTS_READ
from annals.app.parameters import IntegerRange, Parameters, Text, Uid, optional, required
from annals.app.queries.page import Page, list_parameters
from annals.app.wire import encode
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
from annals.store.log.reader import RecordedEvent
from annals.store.postgres.listener import Listener

_MOST = 2**62
BATCH = 200
FEED = list_parameters(events.LIST).but(
    type=optional(events.EventType()),
    resource=optional(events.Resource()),
    actor=optional(Text(128)),
    after=optional(IntegerRange(0, _MOST)),
)
ONE = Parameters(position=required(IntegerRange(1, _MOST)))


_UID = required(Uid())
_table = partial(list_parameters, streams.LIST)
"""Returns the parameters of a resource's history, with those of its path."""


class HistoryController(operation.ResourceController):
    path = "/v1"

    @operation.get("/events", scopes=EVENTS_READ, parameters=FEED)
    async def feed(self, call: Call) -> Answer | Stream:
        """Return a page of the project's events. Clients that accept an event stream get those after a position."""
        values = call.values
        wanted = events.EventFilter(values["type"], values["resource"], values["actor"])
        if "text/event-stream" in call.header(b"accept"):
            return event_answer(follow_feed(call, await _begin(call), wanted))
        page: Page = values["queries"]
        if values["after"] is not None and not page.cursor:
            wanted = wanted._replace(after=values["after"])
        found = await events.read_feed(call, page, wanted, counted=values["total"])
        shown = await Presenter(call.services.database).events(found.events)
        return json_answer({"total": found.total, "events": shown})

    @operation.get("/events/{position:str}", scopes=EVENTS_READ, parameters=ONE)
    async def get(self, call: Call) -> Answer:
        recorded_event = await events.read_event(call, call.values["position"])
        changes = await streams.changes_of(call.services.log.reader, recorded_event)
        (shown,) = await (await Presenter.of_call(call)).with_changes([(recorded_event, changes)])
        return json_answer(shown)

    @operation.get("/events/{position:str}/tree", scopes=EVENTS_READ, parameters=ONE)
    async def tree(self, call: Call) -> Answer:
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

    @operation.get("/functions/{functionId:str}/history", scopes=EVENTS_READ, parameters=_table(functionId=_UID))
    async def of_function(self, call: Call) -> Answer:
        return await _answer_history(call, Function.key(call.project_id, call.values["functionId"]), FunctionNotFound)

    @operation.get(
        "/functions/{functionId:str}/variables/{variableId:str}/history",
        scopes=EVENTS_READ,
        parameters=_table(functionId=_UID, variableId=_UID),
    )
    async def of_variable(self, call: Call) -> Answer:
        key = Function.key(call.project_id, call.values["functionId"])
        return await _answer_history(call, key, VariableNotFound, _of_variable(call.values))

    @operation.get(
        "/functions/{functionId:str}/deployments/{deploymentId:str}/history",
        scopes=EVENTS_READ,
        parameters=_table(functionId=_UID, deploymentId=_UID),
    )
    async def of_deployment(self, call: Call) -> Answer:
        key = Deployment.key(call.project_id, call.values["deploymentId"])
        return await _answer_history(call, key, DeploymentNotFound, _of_function(call.values))

    @operation.get(
        "/functions/{functionId:str}/executions/{executionId:str}/history",
        scopes=EVENTS_READ,
        parameters=_table(functionId=_UID, executionId=_UID),
    )
    async def of_execution(self, call: Call) -> Answer:
        key = Execution.key(call.project_id, call.values["executionId"])
        return await _answer_history(call, key, ExecutionNotFound, _of_function(call.values))

    @operation.get("/users/{userId:str}/history", scopes=EVENTS_READ, parameters=_table(userId=_UID))
    async def of_user(self, call: Call) -> Answer:
        return await _answer_history(call, User.key(call.project_id, call.values["userId"]), UserNotFound)

    @operation.get("/teams/{teamId:str}/history", scopes=EVENTS_READ, parameters=_table(teamId=_UID))
    async def of_team(self, call: Call) -> Answer:
        return await _answer_history(call, Team.key(call.project_id, call.values["teamId"]), TeamNotFound)

    @operation.get("/project/history", scopes=EVENTS_READ, parameters=_table())
    async def of_own_project(self, call: Call) -> Answer:
        return await _answer_history(call, Project.key(call.project_id), ProjectNotFound)

    @operation.get(
        "/projects/{projectId:str}/history",
        scopes=PROJECTS_READ,
        parameters=_table(projectId=_UID),
        needs_project=False,
    )
    async def of_project(self, call: Call) -> Answer:
        return await _answer_history(call, Project.key(call.values["projectId"]), ProjectNotFound)


async def _answer_history(
    call: Call,
    stream: Key,
    missing: type[DomainError],
    about: Callable[[Any], bool] | None = None,
) -> Answer:
    """Return one resource's history."""
    values = call.values
    found = await streams.read_history(call, stream, values["queries"], missing, about=about)
    shown = await (await Presenter.of_call(call)).with_changes(found.events)
    return json_answer({"total": found.total if values["total"] else 0, "events": shown})


def _of_function(values: dict[str, Any]) -> Callable[[Any], bool]:
    """Return a filter of events, which come in order, for the incarnations that began for this function."""
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


async def follow_feed(call: Call, after: int, wanted: events.EventFilter) -> AsyncIterator[ServerSentEventMessage]:
    """Yield events named by their type, with their position as id, until the client leaves or the project is deleted.

    If no event of a batch matches, a bare id tells the client how far the feed has been read, so that it can resume
    there.
    """
    since = await call.incarnation()
    async with call.services.listening.entered() as listener:
        async for message in follow(_Feed(call, listener, wanted, since, after)):
            yield message


class _Feed:
    def __init__(self, call: Call, listener: Listener, wanted: events.EventFilter, since: int, after: int) -> None:
        self._reader = call.services.log.reader
        self._project = call.project_id
        self._wanted = wanted
        self._since = since
        self._presenter = Presenter(call.services.database)
        self._listener, self._heard = listener, listener.count
        self._position = max(after, since - 1)
        self._behind = True

    async def look(self) -> News:
        self._heard = self._listener.count
        batch = await self._reader.after(self._position, BATCH, project=self._project)
        self._behind = bool(batch)
        if not batch:
            return News([])
        self._position = batch[-1].position
        fitting = [
            recorded_event
            for recorded_event in _until_deletion(batch)
            if events.is_own(recorded_event, self._since) and self._wanted.fits(recorded_event)
        ]
        shown = await self._presenter.events(fitting)
        messages = [
            event(encode(one), name=one.type, own_id=str(recorded_event.position))
            for recorded_event, one in zip(fitting, shown, strict=True)
        ]
        ended = any(isinstance(recorded_event.event, Project.Deleted) for recorded_event in batch)
        return News(messages or [event(own_id=str(self._position))], ended)

    async def wait(self, seconds: float) -> None:
        if not self._behind:
            await self._listener.wait(self._heard, seconds)


def _until_deletion(recorded_events: Sequence[RecordedEvent]) -> Iterator[RecordedEvent]:
    """Yield a project's events up to its deletion. Later events belong to the next project of its id."""
    for recorded_event in recorded_events:
        yield recorded_event
        if isinstance(recorded_event.event, Project.Deleted):
            return
