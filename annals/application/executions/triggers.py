"""Trigger functions by events: request an execution of each function that is subscribed to an event.

The execution's id names the event and the function, so a batch that is seen twice triggers nothing twice.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import structlog

from annals.application.executions.event_payloads import member_of, payload
from annals.application.executions.request import record_triggered
from annals.domain.base import Key
from annals.domain.event_names import NamedEvent, named_event
from annals.domain.execution import CallRequest, Execution
from annals.domain.invocation import KEPT_REQUEST_HEADERS, stored_headers
from annals.domain.team import Team
from annals.domain.user import User
from annals.domain.version import API_VERSION
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
        call_input = Input(body=await self._payload(recorded_event), headers=_HEADERS, depth=depth)
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


_HEADERS = [("content-type", "application/json"), ("user-agent", f"Appwrite/{API_VERSION}")]
