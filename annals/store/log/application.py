"""The library's application over the log, for code and tools that are written for `eventsourcing`."""

from typing import Any

from eventsourcing.application import Application, Repository
from eventsourcing.persistence import ApplicationRecorder, Mapper

from annals.store.log.log import EventLog
from annals.store.log.reader import project_events
from annals.store.log.recorder import LogRecorder
from annals.store.postgres.listener import Listener


class LogRepository(Repository[str]):
    """Folds streams that may begin again after a deletion."""

    def get(self, aggregate_id: str, *, projector_func: Any = project_events, **options: Any) -> Any:
        return super().get(aggregate_id, projector_func=projector_func, **options)


class LogApplication(Application[str]):
    """`save`, `repository` and `notification_log` of an open log, from threads other than its own."""

    def __init__(self, log: EventLog, listener: Listener) -> None:
        self._event_log, self._listener = log, listener
        super().__init__()

    def construct_mapper(self) -> Mapper[str]:
        return self._event_log.mapper

    def construct_recorder(self) -> ApplicationRecorder:
        return LogRecorder(self._event_log, self._listener)

    def construct_repository(self) -> Repository[str]:
        return LogRepository(event_store=self.events)
