"""The event log of an instance for programs that use the `eventsourcing` library.

`LogApplication` is an application of that library. Its repository, its notification log and its subscriptions read the
log, archived events included, and the library's projection runners follow it. It records nothing: changes go through
the HTTP API, whose appends keep the read models up to date. docs/eventsourcing.md has an example.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar
from uuid import UUID

from eventsourcing.application import Application, Repository
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    ListenNotifySubscription,
    Mapper,
    Notification,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Subscription,
)
from eventsourcing.popo import POPOFactory
from eventsourcing.utils import Environment

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.retention import Retention
from annals.domain.rule import Rule
from annals.domain.team import Team
from annals.domain.user import User
from annals.settings import Settings, read
from annals.store.content.blobs import Blobs
from annals.store.errors import StoreUnavailable
from annals.store.log.archives import Archives
from annals.store.log.mapper import EventMapper
from annals.store.log.reader import project_events
from annals.store.log.stored_row import StoredRow
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from annals.supervisor.folders import Folders

__all__ = ["AGGREGATES", "LogApplication", "LogRecorder"]

QUERIES = sql.load(__package__, "recorder.sql")

AGGREGATES = (Deployment, Execution, Function, Project, Retention, Rule, Team, User)
"""The aggregates of the log. A stream is named `<kind>:<project>:<id>`, such as `function:shop:resize`."""

_POLL_SECONDS = 1.0

T = TypeVar("T")


class LogApplication(Application[str]):
    """Reads the log of the instance on the data folder ANNALS_DATA, or of the database ANNALS_DATABASE_URL."""

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        return POPOFactory(env)  # a projection's PERSISTENCE_MODULE is for its view: the log has its own recorder

    def construct_mapper(self) -> Mapper[str]:
        return EventMapper()

    def construct_recorder(self) -> ApplicationRecorder:
        settings = _instance(self.env)
        return LogRecorder(settings.database_url, settings.blobs)

    def construct_repository(self) -> Repository[str]:
        return _LogRepository(event_store=self.events)

    def close(self) -> None:
        super().close()
        if isinstance(self.recorder, LogRecorder):
            self.recorder.close()

    def __exit__(self, *args: Any, **options: Any) -> None:
        super().__exit__(*args, **options)
        self.close()


class LogRecorder(ApplicationRecorder):
    """Reads stored events by an event loop in a thread of its own; `close` ends it."""

    def __init__(self, database_url: str, blobs: str | Path) -> None:
        """Connect. Raises OperationalError if the database cannot be reached."""
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="annals-log", daemon=True)
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()
        self._wakers: list[Future[None]] = []
        try:
            self._wait(self._open(database_url, blobs))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections. A second call does nothing."""
        if self._loop.is_closed():
            return
        for waker in self._wakers:
            waker.cancel()
        self._wait(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ARG002
        """Raise ProgrammingError: an event without its read models' rows would leave them behind the log."""
        raise ProgrammingError("LogApplication only reads the log. Record changes through the HTTP API.")

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        params = {"stream": str(originator_id), "gt": gt, "lte": lte, "limit": limit}
        return self._wait(self._stream(params, desc=desc))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        after = (start or 0) - (1 if inclusive_of_start and start is not None else 0)
        return self._wait(self._notifications(after, limit, stop, topics))

    def max_notification_id(self) -> int | None:
        position: int | None = self._wait(self._database.value(QUERIES["newest"]))
        return position

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        subscription = _LogSubscription(self, gt, topics)
        self._wakers.append(asyncio.run_coroutine_threadsafe(self._wake(subscription), self._loop))
        return subscription

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result. Raises OperationalError for a database that is away."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except StoreUnavailable as error:
            raise OperationalError(str(error)) from error

    async def _open(self, database_url: str, blobs: str | Path) -> None:
        self._database = await Database.open(database_url, size=2, name="annals eventsourcing")
        self._stack.push_async_callback(self._database.close)
        self._archives = Archives(self._database, Blobs.open(blobs))
        self._listener = await self._stack.enter_async_context(Listener.open(self._database))

    async def _wake(self, subscription: "_LogSubscription") -> None:
        """Notify a subscription of commits until it is stopped."""
        known = self._listener.count
        while not subscription.stopped:
            subscription.notify()
            known = await self._listener.wait(known, _POLL_SECONDS)

    async def _stream(self, params: dict[str, Any], *, desc: bool) -> list[StoredEvent]:
        rows = await self._database.rows(QUERIES["stream_backwards" if desc else "stream"], params)
        if rows or not await self._archives.end():
            return [StoredEvent(**row) for row in rows]
        archived = await self._archives.of_streams({params["stream"]})  # whole streams leave the table
        gt, lte = params["gt"] or 0, params["lte"]
        found = [row for row in archived if row.version > gt and (lte is None or row.version <= lte)]
        found = found[::-1] if desc else found
        return [StoredEvent(row.stream, row.version, row.topic, row.state) for row in found[: params["limit"]]]

    async def _notifications(
        self, after: int, limit: int, stop: int | None, topics: Sequence[str]
    ) -> list[Notification]:
        while True:
            end = await self._archives.end()
            found = await self._archived_notifications(after, limit, stop, topics) if after < end else []
            params = {"after": max(after, end), "stop": stop, "topics": list(topics), "limit": limit - len(found)}
            rows = await self._database.rows(QUERIES["notifications"], params) if len(found) < limit else []
            if await self._archives.end() == end:  # no event moved from the table into an archive meanwhile
                return found + [Notification(**row) for row in rows]

    async def _archived_notifications(
        self, after: int, limit: int, stop: int | None, topics: Sequence[str]
    ) -> list[Notification]:
        found: list[Notification] = []
        while len(found) < limit:
            rows = await self._archives.after(after, limit - len(found), until=stop)
            if not rows:
                break
            found += [_notification(row) for row in rows if not topics or row.topic in topics]
            after = rows[-1].position
        return found


class _LogRepository(Repository[str]):
    """Folds streams that begin again after a deletion."""

    def get(self, aggregate_id: str, *, projector_func: Callable[..., Any] = project_events, **options: Any) -> Any:
        return super().get(aggregate_id, projector_func=projector_func, **options)


class _LogSubscription(ListenNotifySubscription[ApplicationRecorder]):
    """The library's subscription, notified by the recorder's one listener."""

    @property
    def stopped(self) -> bool:
        return self._has_been_stopped

    def notify(self) -> None:
        self._has_been_notified.set()


def _notification(row: StoredRow) -> Notification:
    return Notification(row.stream, row.version, row.topic, row.state, row.position)


def _instance(environment: Mapping[str, str]) -> Settings:
    """Return the settings of the instance that an environment names. Raises ProgrammingError if it names none."""
    settings = read(environment)
    running = Folders(settings.folder).running()
    if running is not None:
        return read(running.settings)
    if not settings.database_url:
        raise ProgrammingError(f"No instance runs on {settings.folder}. Set ANNALS_DATA or ANNALS_DATABASE_URL.")
    return settings
