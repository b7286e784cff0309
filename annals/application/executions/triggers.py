"""Trigger functions by events: request an execution of each function that is subscribed to an event.

The execution's id names the event and the function, so a batch that is seen twice triggers nothing twice. The body is
the resource as it was right after the event, folded from its stream.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog

from annals.application.executions.request import record_triggered
from annals.domain.base import Key
from annals.domain.event_names import NamedEvent, named_event
from annals.domain.execution import CallRequest, Execution
from annals.domain.invocation import KEPT_REQUEST_HEADERS, stored_headers
from annals.domain.team import Membership, Team
from annals.domain.user import User
from annals.domain.version import API_VERSION
from annals.projections.identity_models import present_membership, present_session, present_team, present_user
from annals.store.content.inputs import Input, digest_and_size, seal_input
from annals.store.errors import DataKeyDeleted, DataKeyReplaced
from annals.store.log.log import EventLog, Meta
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection
from annals.store.secrets.vault import Vault

QUERIES = sql.load(__package__, "triggers.sql")

DEEPEST = 8
"""How many triggered functions may follow one another from one request."""

_PAGE = 1000
_INPUT_HEADERS = [("content-type", "application/json"), ("user-agent", f"Appwrite/{API_VERSION}")]

log = structlog.get_logger(__name__)


def triggered_id(incarnation: int, position: int) -> str:
    """Return the id of a function's execution for an event; the function is named by its incarnation."""
    return hashlib.sha256(f"{incarnation}@{position}".encode()).hexdigest()[:20]


class Triggers:
    """Requests the executions; `follow` is a follower's handler."""

    def __init__(self, log: EventLog, vault: Vault) -> None:
        self._log = log
        self._vault = vault

    async def follow(self, _conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
        for recorded_event in recorded_events:
            if (named := named_event(recorded_event.event)) is not None:
                await self._trigger(recorded_event, named)

    async def _trigger(self, recorded_event: RecordedEvent, named: NamedEvent) -> None:
        subscribed = await self._log.database.rows(
            QUERIES["subscribed"],
            {"project": recorded_event.project, "names": named.names, "position": recorded_event.position},
        )
        if not subscribed:
            return
        depth = int(recorded_event.event.metadata.get("depth", "0")) + 1
        if depth > DEEPEST:
            log.warning(
                "trigger_too_deep", name=named.names[0], position=recorded_event.position, functions=len(subscribed)
            )
            return
        call_input = Input(body=await self._payload(recorded_event), headers=_INPUT_HEADERS, depth=depth)
        await asyncio.gather(
            *(self._request_sealed(recorded_event, named.names[0], function, call_input) for function in subscribed)
        )

    async def _payload(self, recorded_event: RecordedEvent) -> bytes:
        history: list[RecordedEvent] = []
        while page := await self._log.reader.of_stream(
            recorded_event.event.originator_id,
            after=history[-1].event.originator_version if history else 0,
            limit=_PAGE,
        ):
            history += page
        history = [known for known in history if known.position <= recorded_event.position]
        user_id = member_of(history) if isinstance(recorded_event.event, Team.Event) else ""
        member = (
            await self._log.load(Key(User, User.stream(recorded_event.project, user_id), None)) if user_id else None
        )
        return payload(history, member)

    async def _request_sealed(self, recorded_event: RecordedEvent, name: str, function: Any, call_input: Input) -> None:
        """Request an execution; once more if its project was deleted and created again while its input was sealed."""
        try:
            await self._request(recorded_event, name, function, call_input)
        except DataKeyDeleted:
            return  # the project is gone, and its functions with it
        except DataKeyReplaced:
            self._vault.forget(recorded_event.project)
            await self._request(recorded_event, name, function, call_input)

    async def _request(self, recorded_event: RecordedEvent, name: str, function: Any, call_input: Input) -> None:
        execution_id = triggered_id(function["function_sequence"], recorded_event.position)
        stream = Execution.stream(recorded_event.project, execution_id)
        content = await seal_input(self._vault, recorded_event.project, stream, call_input)
        digest, size = digest_and_size(content)
        metadata = recorded_event.event.metadata
        kind, _, user_id = metadata.get("actor", "").partition(":")
        meta = Meta(actor="event", causation=str(recorded_event.position), correlation=metadata.get("correlation", ""))
        request = CallRequest(
            method="POST",
            path="/",
            headers=stored_headers(call_input.headers, KEPT_REQUEST_HEADERS),
            user_id=user_id if kind == "user" else "",
            input_digest=digest,
            input_size=size,
            event=name,
        )
        recorded = await record_triggered(
            self._log, function, execution_id, trigger="event", request=request, meta=meta, contents=[content]
        )
        if not recorded:
            return  # triggered when this batch was seen before, or deleted meanwhile
        log.info("event_triggered", name=name, function=function["function_id"], execution=execution_id)


def payload(history: Sequence[RecordedEvent], member: User | None) -> bytes:
    """Return the resource after the last event as JSON, from the events of its stream.

    `member` is the user of a membership, None if the user does not exist any more.
    """
    begun = max(
        number
        for number, recorded_event in enumerate(history)
        if isinstance(recorded_event.event, User.Created | Team.Created)
    )
    history = history[begun:]
    aggregate: Any = None
    gone: Any = None
    for recorded_event in history:
        gone = _removed(aggregate, recorded_event.event)
        aggregate = recorded_event.event.mutate(aggregate)
    if isinstance(aggregate, User):
        return msgspec.json.encode(_of_user(aggregate, history, gone))
    return msgspec.json.encode(_of_team(aggregate, history, gone, member))


def member_of(history: Sequence[RecordedEvent]) -> str:
    """Return the id of the user whose membership the last event changed; empty for other events."""
    team: Any = None
    for recorded_event in history[:-1]:
        team = recorded_event.event.mutate(team)
    event = history[-1].event
    if isinstance(event, Team.MemberAdded):
        return event.membership.user_id
    if isinstance(event, Team.MemberConfirmed | Team.MemberChanged | Team.MemberRemoved):
        return str(team.memberships[event.membership_id].user_id)
    return ""


def _removed(aggregate: Any, event: Any) -> Any:
    if isinstance(event, User.SessionClosed):
        return aggregate.sessions[event.session_id]
    if isinstance(event, Team.MemberRemoved):
        return aggregate.memberships[event.membership_id]
    return None


def _of_user(user: User, history: Sequence[RecordedEvent], gone: Any) -> Any:
    event = history[-1].event
    if isinstance(event, User.SessionOpened | User.SessionClosed):
        session = event.session if isinstance(event, User.SessionOpened) else gone
        opened = _time(history, User.SessionOpened, lambda e: e.session.session_id == session.session_id)
        row = {**msgspec.structs.asdict(session), "user_id": user.user_id, "created_at": opened}
        return present_session(row, email=user.email)
    passwords = [
        recorded_event.recorded_at for recorded_event in history if getattr(recorded_event.event, "sealed_password", "")
    ]
    return present_user(
        {
            **_stamps(history),
            "user_id": user.user_id,
            "name": user.name,
            "email": user.email,
            "phone": user.phone,
            "enabled": user.enabled,
            "labels": user.labels,
            "email_verified": "email" in user.verified,
            "phone_verified": "phone" in user.verified,
            "password_set_at": passwords[-1] if passwords else None,
            "accessed_at": history[0].recorded_at,
        },
        with_hash=False,
    )


def _of_team(team: Team, history: Sequence[RecordedEvent], gone: Membership | None, member: User | None) -> Any:
    event = history[-1].event
    if isinstance(event, Team.Created | Team.Renamed | Team.Deleted):
        total = sum(membership.confirmed for membership in team.memberships.values())
        return present_team({**_stamps(history), "team_id": team.team_id, "name": team.name}, total)
    own_id = event.membership.membership_id if isinstance(event, Team.MemberAdded) else event.membership_id
    found = gone or team.memberships[own_id]
    invited = _time(history, Team.MemberAdded, lambda e: e.membership.membership_id == own_id)
    joined = _time(history, Team.MemberConfirmed, lambda e: e.membership_id == own_id) or invited
    row = {
        **msgspec.structs.asdict(found),
        "team_id": team.team_id,
        "created_at": invited,
        "updated_at": history[-1].recorded_at,
        "joined_at": joined if found.confirmed else None,
    }
    name, email = ("", "") if member is None else (member.name, member.email)
    return present_membership(row, user_name=name, user_email=email, team_name=team.name)


def _stamps(history: Sequence[RecordedEvent]) -> Mapping[str, datetime]:
    return {"created_at": history[0].recorded_at, "updated_at": history[-1].recorded_at}


def _time(history: Sequence[RecordedEvent], kind: type, matches: Any) -> datetime | None:
    """Return the time of the last matching event of a kind."""
    times = [
        recorded_event.recorded_at
        for recorded_event in history
        if isinstance(recorded_event.event, kind) and matches(recorded_event.event)
    ]
    return times[-1] if times else None
