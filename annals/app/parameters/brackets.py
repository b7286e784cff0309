"""Names with brackets, by which query strings and forms encode arrays and maps: `a[]=1`, `a[0]=1`, `a[b][c]=1`."""

import re
from collections.abc import Iterable
from typing import Any

_KEY = re.compile(r"\[([^\]]*)\]")
_DEEPEST = 16


class _Level(dict[str, Any]):
    """One level of the tree while it is filled. `next` is the key that the next `[]` stands for."""

    next = 0

    def put(self, key: str, value: Any) -> None:
        if key.isascii() and key.isdigit() and len(key) < 10:
            self.next = max(self.next, int(key) + 1)
        self[key] = value


def fold(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return names and values as nested maps and lists, in the order sent. The last value of a repeated plain name
    counts."""
    tree = _Level()
    for name, value in pairs:
        if path := _path(name):
            _put(tree, path, value)
    return {name: _lists(value) for name, value in tree.items()}


def _path(name: str) -> list[str]:
    """Return `a[b][]` as ["a", "b", ""]. Other names are one key, also with unclosed brackets."""
    start = name.find("[")
    if start <= 0:
        return [name] if name else []
    keys: list[str] = []
    at = start
    while len(keys) < _DEEPEST and (match := _KEY.match(name, at)):
        keys.append(match.group(1))
        at = match.end()
    return [name[:start], *keys] if keys else [name]


def _put(level: _Level, path: list[str], value: Any) -> None:
    for key in path[:-1]:
        slot = key or str(level.next)
        below = level.get(slot)
        if not isinstance(below, _Level):
            below = _Level()
            level.put(slot, below)
        level = below
    level.put(path[-1] or str(level.next), value)


def _lists(value: Any) -> Any:
    """Return levels whose keys are all numbers as lists, in the order sent."""
    if not isinstance(value, _Level):
        return value
    below = {key: _lists(item) for key, item in value.items()}
    return list(below.values()) if all(key.isascii() and key.isdigit() for key in below) else below
