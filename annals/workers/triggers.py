"""Functions that are triggered by events: a follower that asks for an execution for each that listens.

The execution's id names the event and the function, so that a batch seen twice triggers nothing twice.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import structlog

from annals.application.executions.event_payloads import member_of, payload
from annals.domain.base import Key
from annals.domain.commands.executions import request_execution
from annals.domain.errors import Conflict, ExecutionAlreadyExists, FunctionNotFound
from annals.domain.event_names import Happening, happening, wants
from annals.domain.execution import Execution, Request
from annals.domain.invocation import KEPT_REQUEST_HEADERS, kept
from annals.domain.policy import policy_from
from annals.domain.team import Team
from annals.domain.user import User
from annals.domain.version import API_VERSION
from annals.store.content.blobs import BlobError
from annals.store.content.inputs import Input, digest_and_size, seal_input
from annals.store.errors import DataKeyDeleted, DataKeyReplaced
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog, Meta
from annals.store.log.reader import RecordedEvent
from annals.store.log.tail_cache import TailCache
from annals.store.postgres import sql
from annals.store.postgres.database import Connection
from annals.store.postgres.listener import Listener
from annals.store.secrets.vault import Vault

QUERIES = sql.load(__package__, "triggers.sql")

DEEPEST = 8
"""How many triggered functions may follow from one request, each from what the former did."""

_PAGE = 1000

log = structlog.get_logger(__name__)


def triggered_id(incarnation: int, position: int) -> str:
    """The id of the execution of a function (by its incarnation) for an event (by its position)."""
    return hashlib.sha256(f"{incarnation}@{position}".encode()).hexdigest()[:20]


class Triggers:
    """`follow` is the follower's handler."""

    def __init__(self, log: EventLog, vault: Vault) -> None:
        self._log, self._vault = log, vault

    def follower(self, listener: Listener, tail_cache: TailCache | None = None) -> Follower:
        """Somebody waits for what it asks for, and large payloads are blobs, whose store may be away for a while."""
        return Follower(
            "triggers",
            self.follow,
            self._log.reader,
            listener,
            batch=50,
            rest_seconds=0.01,
            tail_cache=tail_cache,
            wants=wants,
            transient=(BlobError, DataKeyReplaced),
        )

    async def follow(self, _conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
        for recorded_event in recorded_events:
            if (what := happening(recorded_event.event)) is not None:
                await self._trigger(recorded_event, what)

    async def _trigger(self, recorded_event: RecordedEvent, what: Happening) -> None:
        subscribed = await self._log.database.rows(
            QUERIES["subscribed"],
            {"project": recorded_event.project, "names": what.names, "position": recorded_event.position},
        )
        if not subscribed:
            return
        depth = int(recorded_event.event.metadata.get("depth", "0")) + 1
        if depth > DEEPEST:
            log.warning(
                "trigger_too_deep", name=what.names[0], position=recorded_event.position, functions=len(subscribed)
            )
            return
        given = Input(body=await self._payload(recorded_event), headers=_HEADERS, depth=depth)
        await asyncio.gather(
            *(self._request_sealed(recorded_event, what.names[0], function, given) for function in subscribed)
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

    async def _request_sealed(self, recorded_event: RecordedEvent, name: str, function: Any, given: Input) -> None:
        """Request it, and once more where its project was deleted and created again while its input was sealed."""
        try:
            await self._request(recorded_event, name, function, given)
        except DataKeyDeleted:
            return  # the project is gone, and its functions with it
        except DataKeyReplaced:
            self._vault.forget(recorded_event.project)
            await self._request(recorded_event, name, function, given)

    async def _request(self, recorded_event: RecordedEvent, name: str, function: Any, given: Input) -> None:
        execution_id = triggered_id(function["sequence"], recorded_event.position)
        policy = policy_from(function["policy"])
        stream = Execution.stream(recorded_event.project, execution_id)
        content = await seal_input(self._vault, recorded_event.project, stream, given)
        digest, size = digest_and_size(content)
        said = recorded_event.event.metadata
        kind, _, user_id = said.get("actor", "").partition(":")
        meta = Meta(actor="event", causation=str(recorded_event.position), correlation=said.get("correlation", ""))
        request = Request(
            method="POST",
            path="/",
            headers=kept(given.headers, KEPT_REQUEST_HEADERS),
            user_id=user_id if kind == "user" else "",
            input_digest=digest,
            input_size=size,
            event=name,
        )
        try:
            await self._log.run(
                request_execution,
                Execution.absent(recorded_event.project, execution_id),
                meta=meta,
                contents=[content],
                project_id=recorded_event.project,
                function_id=function["function_id"],
                function_incarnation=function["sequence"],
                function_version=function["version"],
                execution_id=execution_id,
                deployment_id=policy.share_of(execution_id) or function["deployment_id"],
                trigger="event",
                request=request,
                retries=policy.retries_of_calls,
            )
        except (ExecutionAlreadyExists, FunctionNotFound, Conflict):
            return  # triggered, before this batch was seen again, or gone meanwhile
        log.info("event_triggered", name=name, function=function["function_id"], execution=execution_id)


_HEADERS = [("content-type", "application/json"), ("user-agent", f"Appwrite/{API_VERSION}")]
