"""Statements in the form of Postgres: `%(name)s` becomes `$1`, and parameters are in the order of the numbers."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from psycopg import ProgrammingError
from psycopg.adapt import PyFormat

Params = Mapping[str, object] | Sequence[object]

_PLACEHOLDER = re.compile(r"%(?:\((?P<name>\w+)\))?(?P<kind>.?)", re.DOTALL)
_KINDS = {"s": PyFormat.AUTO, "b": PyFormat.BINARY, "t": PyFormat.TEXT}


class BoundStatement(NamedTuple):
    """A statement with `$1`, `$2`, ...; the names of its parameters, empty if they are unnamed; and their formats."""

    sql: bytes
    names: tuple[str, ...]
    formats: tuple[PyFormat, ...]

    def values(self, params: Params) -> Sequence[object]:
        """Return the parameters in order. Raises ProgrammingError for missing or surplus parameters."""
        if isinstance(params, Mapping) and (self.names or not self.formats):
            try:
                return [params[name] for name in self.names]
            except KeyError as error:
                raise ProgrammingError(f"query parameter missing: {error.args[0]}") from None
        if isinstance(params, Mapping) or self.names or len(params) != len(self.formats):
            raise ProgrammingError(
                f"the query has {len(self.formats)} placeholders, {len(params)} parameters were given"
            )
        return params


@lru_cache(maxsize=1024)
def bound(sql: str) -> BoundStatement:
    """Return the form of Postgres of a statement with psycopg's placeholders. Raises ProgrammingError."""
    named: dict[str, PyFormat] = {}
    unnamed: list[PyFormat] = []

    def number(found: re.Match[str]) -> str:
        name, kind = found["name"], found["kind"]
        if kind == "%" and name is None:
            return "%"
        if kind not in _KINDS:
            raise ProgrammingError(f"only '%s', '%b', '%t' are placeholders, got {found[0]!r}")
        if name is None:
            unnamed.append(_KINDS[kind])
            return f"${len(unnamed)}"
        if named.setdefault(name, _KINDS[kind]) is not _KINDS[kind]:
            raise ProgrammingError(f"placeholder {name!r} cannot have different formats")
        return f"${list(named).index(name) + 1}"

    text = _PLACEHOLDER.sub(number, sql)
    if named and unnamed:
        raise ProgrammingError("positional and named placeholders cannot be mixed")
    return BoundStatement(text.encode(), tuple(named), tuple(named.values() or unnamed))
