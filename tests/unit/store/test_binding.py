"""Placeholders have the syntax of psycopg, and are read in the same way."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from psycopg import ProgrammingError, _queries
from psycopg.adapt import Transformer

import annals
from annals.store.postgres import sql
from annals.store.postgres.connection import Params, bound

FILES = [file for file in Path(annals.__path__[0]).rglob("*.sql") if file.parent.name != "migrations"]


def statements() -> list[str]:
    """All but those that other words are still put into before they are sent."""
    texts = [text for file in FILES for text in sql.parse(file.name, file.read_text("utf-8")).values()]
    return [text for text in texts if not re.search(r"%\(\{\w+\}", text)]


class Everything(dict[str, object]):
    """A parameter of each name."""

    def __missing__(self, name: str) -> object:
        return name

    def __contains__(self, name: object) -> bool:
        return True


def as_psycopg_reads(text: str, params: Any) -> tuple[bytes, Sequence[object]]:
    query = _queries.PostgresQuery(Transformer())
    query.convert(text, params)
    return query.query, [bytes(value) for value in query.params or () if value is not None]


def test_every_statement_of_ours_reads_as_with_psycopg() -> None:
    texts = statements()
    assert len(texts) > 200
    for text in texts:
        params: Any = Everything() if "%(" in text else ["p"] * len(bound(text).formats)
        read, values = as_psycopg_reads(text, params)
        assert bound(text).sql == read
        assert [str(value).encode() for value in bound(text).values(params)] == values


def test_name_used_twice_is_one_parameter() -> None:
    text = "SELECT %(b)s, %(a)s, %(b)s, 5 %% 2"

    assert bound(text).sql == b"SELECT $1, $2, $1, 5 % 2"
    assert bound(text).values({"a": 1, "b": 2, "c": 3}) == [2, 1]


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("SELECT %(absent)s", {}),
        ("SELECT %(absent)s", ()),
        ("SELECT %s", ()),
        ("SELECT %s", (1, 2)),
        ("SELECT %s", {"a": 1}),
        ("SELECT 1", (1,)),
        ("SELECT %s, %(a)s", {"a": 1}),
        ("SELECT %(a)s, %(a)b", {"a": 1}),
        ("SELECT 5 % 2", ()),
        ("SELECT %d", (1,)),
        ("SELECT '%'", ()),
    ],
)
def test_parameters_that_do_not_fit_raise_an_error(text: str, params: Params) -> None:
    with pytest.raises(ProgrammingError):
        bound(text).values(params)
