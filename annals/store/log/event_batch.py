"""A stretch of the log as a follower is handed it: rows as they are stored, decoded once somebody asks."""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from annals.store.log.reader import RecordedEvent
from annals.store.postgres.database import Row


class BatchEntry:
    """A row of the log; whoever asks first for its fact has it decoded for all."""

    __slots__ = ("_decode", "_recorded_event", "row")

    def __init__(self, row: Row, decode: Callable[[Row], RecordedEvent]) -> None:
        self.row, self._decode = row, decode
        self._recorded_event: RecordedEvent | None = None

    @property
    def position(self) -> int:
        return int(self.row["notification_id"])

    @property
    def recorded_event(self) -> RecordedEvent:
        """Raises UnknownTopic and UnreadableEvent."""
        if self._recorded_event is None:
            self._recorded_event = self._decode(self.row)
        return self._recorded_event


class EventBatch(Sequence[RecordedEvent]):
    """Entries that follow one another: a sequence of their facts, and `rows` for who needs the stored bytes."""

    def __init__(self, entries: Sequence[BatchEntry]) -> None:
        self._entries = entries

    @property
    def rows(self) -> Sequence[Row]:
        return [entry.row for entry in self._entries]

    @property
    def end(self) -> int:
        """The position of its last entry."""
        return self._entries[-1].position

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[RecordedEvent]:
        return (entry.recorded_event for entry in self._entries)

    @overload
    def __getitem__(self, index: int) -> RecordedEvent: ...
    @overload
    def __getitem__(self, index: slice) -> "EventBatch": ...
    def __getitem__(self, index: int | slice) -> "RecordedEvent | EventBatch":
        if isinstance(index, slice):
            return EventBatch(self._entries[index])
        return self._entries[index].recorded_event
