"""The library's recorder over the log: what is written for `eventsourcing` runs unchanged, through the group append."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    OperationalError,
    StoredEvent,
    Subscription,
)

from annals.store.errors import StoreUnavailable, StreamConflict
from annals.store.log.log import EventLog
from annals.store.log.request import AppendRequest
from annals.store.postgres import sql
from annals.store.postgres.listener import Listener

QUERIES = sql.load(__package__, "recorder.sql")


class LogRecorder(ApplicationRecorder):
    """Synchronous, for threads other than the log's own: each call waits for the log's event loop."""

    def __init__(self, log: EventLog, listener: Listener) -> None:
        self._log, self._listener = log, listener
        self._rows = log.database.rows

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append; `statements` and `contents` go along. Raises the library's IntegrityError and OperationalError."""
        if not stored_events:
            return []
        request = AppendRequest(list(stored_events), kwargs.get("statements", ()), kwargs.get("contents", ()))
        try:
            return self._log.sync.wait(self._log.appender.append(request)).positions
        except StreamConflict as error:
            raise IntegrityError(str(error)) from error
        except StoreUnavailable as error:
            raise OperationalError(str(error)) from error

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
        rows = self._log.sync.wait(self._rows(QUERIES["stream_backwards" if desc else "stream"], params))
        return [StoredEvent(**row) for row in rows]

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
        params = {"after": after, "stop": stop, "topics": list(topics), "limit": limit}
        return [Notification(**row) for row in self._log.sync.wait(self._rows(QUERIES["notifications"], params))]

    def max_notification_id(self) -> int | None:
        return self._log.sync.wait(self._log.reader.position()) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        return LogSubscription(self, gt, topics)

    def wake(self, subscription: "LogSubscription") -> None:
        """Tell a subscription of commits until it is stopped."""
        asyncio.run_coroutine_threadsafe(self._wake(subscription), self._log.loop)

    async def _wake(self, subscription: "LogSubscription") -> None:
        known = self._listener.count
        while not subscription.stopped:
            subscription.notified()
            known = await self._listener.wait(known, 1.0)


class LogSubscription(ListenNotifySubscription[ApplicationRecorder]):
    """The library's subscription, woken by the process's listener instead of a connection of its own."""

    def __init__(self, recorder: LogRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, topics)
        recorder.wake(self)

    @property
    def stopped(self) -> bool:
        return self._has_been_stopped

    def notified(self) -> None:
        self._has_been_notified.set()
