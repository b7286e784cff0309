"""A stretch of the log as a follower is handed it: rows as they are stored, decoded once somebody asks."""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from annals.store.log.reader import Fact
from annals.store.postgres.database import Row


class Entry:
    """A row of the log; whoever asks first for its fact has it decoded for all."""

    __slots__ = ("_decode", "_fact", "row")

    def __init__(self, row: Row, decode: Callable[[Row], Fact]) -> None:
        self.row, self._decode = row, decode
        self._fact: Fact | None = None

    @property
    def position(self) -> int:
        return int(self.row["notification_id"])

    @property
    def fact(self) -> Fact:
        """Raises UnknownTopic and UnreadableEvent."""
        if self._fact is None:
            self._fact = self._decode(self.row)
        return self._fact


class Stretch(Sequence[Fact]):
    """Entries that follow one another: a sequence of their facts, and `rows` for who needs the stored bytes."""

    def __init__(self, entries: Sequence[Entry]) -> None:
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

    def __iter__(self) -> Iterator[Fact]:
        return (entry.fact for entry in self._entries)

    @overload
    def __getitem__(self, index: int) -> Fact: ...
    @overload
    def __getitem__(self, index: slice) -> "Stretch": ...
    def __getitem__(self, index: int | slice) -> "Fact | Stretch":
        if isinstance(index, slice):
            return Stretch(self._entries[index])
        return self._entries[index].fact
