"""A cache of byte strings that is shared between requests and bounded by its total size."""

from collections import OrderedDict
from collections.abc import Hashable


class ByteCache:
    """Evicts the least recently used values over `most` bytes in total, and stores no value over `largest` bytes."""

    def __init__(self, most: int, *, largest: int = 64 * 1024) -> None:
        self._most, self._largest, self._size = most, largest, 0
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable) -> bytes | None:
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    def put(self, key: Hashable, value: bytes) -> None:
        if len(value) > self._largest:
            return
        former = self._kept.pop(key, None)
        self._size += len(value) - (len(former) if former is not None else 0)
        self._kept[key] = value
        while self._size > self._most:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped)

    def __len__(self) -> int:
        return len(self._kept)
