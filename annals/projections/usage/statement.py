"""The statement that answers a question about usage: the keys, sums and stretches of time it has a use for."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.sql import SQL, Composed, Identifier, Literal

from annals.projections.usage import follower
from annals.projections.usage.levels import GRAINS, Level, begun, levels
from annals.projections.usage.question import DIMENSIONS, MEASURES, RUNNING, Question
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "statement.sql")

_COLUMNS = {
    "function": "function_id", "deployment": "deployment_id", "trigger": "trigger", "status": "status",
    "reason": "reason", "specification": "specification",
}  # fmt: skip
_COUNTED = ("executions", "executions_time_ms", "builds", "deployments_storage")
"""Of these one at least is there where anything was counted."""

_BEFORE_ALL = "-infinity"


class Statement(NamedTuple):
    """What to execute, but for the parameters of what is not booked yet."""

    query: Composed
    params: dict[str, Any]


class _Part(NamedTuple):
    level: Level
    since: datetime | str
    table: str


def statement(question: Question, until: datetime | None = None, *, calls: bool = True) -> Statement:
    """With `until`, a whole quarter of an hour, cells count that lie before it; `calls`: there is the cube of calls."""
    edges = question.edges if until is None else [min(edge, until) for edge in question.edges]
    sums, cube = _sums(question), question.cube(calls=calls)
    params: dict[str, Any] = {
        "project_id": question.project_id,
        "cube": cube,
        "timezone": question.zone.key,
        "edges": list(question.edges),
        "first": 0 if question.opening else 1,
        "last": len(edges) - 1,
        "compared": question.compared,
        "running": question.order in {MEASURES[measure] for measure in RUNNING},
        "top": question.top,
        **{f"only_{dimension}": list(words) for dimension, words in question.filters.items()},
    }
    parts = list(_parts(question, edges, cube))
    for number, part in enumerate(parts):
        params |= _params(part, f"part{number}")
    return Statement(_summed(question, sums, parts), params)


def _parts(question: Question, edges: Sequence[datetime], cube: str) -> Iterator[_Part]:
    """The periods; and, where it matters, all that came before them."""
    found = levels(edges, question.grains)
    yield from (_Part(level, level.edges[0], follower.table_of(level.grain, cube)) for level in found)
    if question.opening:
        since: datetime | str = _BEFORE_ALL
        for grain in GRAINS:
            until = begun(found[0].edges[0], grain)
            if since != until:
                yield _Part(Level(grain, [until]), since, follower.table_of(grain, cube))
            since = until


def _cells(question: Question, parts: Sequence[_Part], sums: Sequence[str]) -> Composed:
    """Everything that is added up, what is not booked yet included."""
    composed = [_read(question, part, f"part{number}", sums) for number, part in enumerate(parts)]
    tail = SQL(QUERIES["tail"]).format(columns=_columns(question, sums, signed=False), cells=_all(_filters(question)))
    return SQL(" UNION ALL ").join([*composed, tail])


def _read(question: Question, part: _Part, name: str, sums: Sequence[str]) -> Composed:
    grain = part.level.grain
    cells: list[SQL | Composed] = [
        SQL("project_id = %(project_id)s"),
        SQL("cube = %(cube)s"),
        SQL("grain = {}").format(Literal(grain)),
        *_filters(question),
    ]
    signed = bool(part.level.former)
    # The name of a part is our own; psycopg has no identifiers for parameters.
    text = QUERIES["moved" if signed else "whole"].replace("{n}", name)
    return SQL(text).format(
        columns=_columns(question, sums, signed=signed),
        table=Identifier(part.table),
        cells=_all(cells),
    )


def _params(part: _Part, name: str) -> dict[str, Any]:
    level = part.level
    return {
        f"{name}_edges": list(level.edges),
        f"{name}_former": list(level.former),
        f"{name}_since": part.since,
        f"{name}_until": level.edges[-1],
        f"{name}_beside": list(level.beside),
    }


def _filters(question: Question) -> list[Composed]:
    return [
        SQL("{} = ANY({}::text[])").format(Identifier(_COLUMNS[dimension]), SQL(f"%(only_{dimension})s"))
        for dimension in question.filters
    ]


def _all(conditions: Sequence[SQL | Composed]) -> Composed:
    return SQL(" AND ").join([SQL("true"), *conditions])


def _sums(question: Question) -> list[str]:
    """The columns to add up, sketches last."""
    asked = [*_COUNTED, question.order, *(MEASURES[measure] for measure in question.measures)]
    found = [column for column in dict.fromkeys(asked) if column != "sketch"]
    return [*found, "sketch"] if question.sketches else found


def _columns(question: Question, sums: Sequence[str], *, signed: bool) -> Composed:
    keys = [SQL("{} AS {}").format(_key(dimension), Identifier(dimension)) for dimension in _grouped(question)]
    return SQL(", ").join([*keys, *(_column(column, signed=signed) for column in sums)])


def _key(dimension: str) -> SQL | Identifier:
    if dimension == "hour":
        return SQL("extract(hour FROM bucket AT TIME ZONE %(timezone)s)::integer")
    return Identifier(_COLUMNS[dimension])


def _column(column: str, *, signed: bool) -> Composed:
    """Whole numbers as floats, which are exact up to 2 ** 53 and several times cheaper to add up."""
    name = Identifier(column)
    if column != "sketch":
        return SQL("({0} * sign)::float8 AS {0}" if signed else "{0}::float8 AS {0}").format(name)
    # long numbers are negated faster than multiplied
    return SQL("CASE WHEN sign > 0 THEN {0} ELSE -{0} END AS {0}" if signed else "{0}").format(name)


def _grouped(question: Question) -> list[str]:
    return [dimension for dimension in DIMENSIONS if dimension in question.group_by]


def _summed(question: Question, sums: Sequence[str], parts: Sequence[_Part]) -> Composed:
    keys = [Identifier(dimension) for dimension in _grouped(question)]
    pieces = {
        "sums": _each("sum({0}) AS {0}", "sum({0}) AS {0}", sums),
        "sent": _each("sum({0})::bigint AS {0}", "numeric_send(sum({0})) AS {0}", sums),
        "counted": SQL(" OR ").join(SQL("sum({}) <> 0").format(Identifier(column)) for column in _COUNTED),
    }
    if not keys:
        return SQL(QUERIES["alone"]).format(parts=_cells(question, parts, sums), **pieces)
    counts = list(dict.fromkeys([*_COUNTED, question.order])) if question.sketches else sums
    return SQL(QUERIES["ranked"]).format(
        keys=SQL(", ").join(keys),
        weight=Identifier(question.order),
        named=SQL(", ").join(SQL("min({0}) AS {0}").format(key) for key in keys),
        told=_each("{0}::bigint", "numeric_send({0}) AS {0}", sums),
        counts=_each("sum({0}) AS {0}", "", counts),
        countable=_cells(question, parts, counts),
        cells=SQL("({}) AS cell").format(_cells(question, parts, sums)) if question.sketches else SQL("keyed"),
        **pieces,
    )


def _each(column: str, sketched: str, sums: Sequence[str]) -> Composed:
    """An expression for every column, another one for sketches."""
    # The expressions are those above; psycopg has no identifiers for parameters.
    return SQL(", ").join(SQL(sketched if name == "sketch" else column).format(Identifier(name)) for name in sums)
