"""The parameter tables of dead letters."""

from annals.app.dead_letters.queries import LIST as SCHEMA
from annals.app.parameters import Boolean, Parameters, Uid, optional, required
from annals.app.queries.page import ListQueries, Page

_QUERIES = optional(ListQueries(SCHEMA), Page())

LIST = Parameters(
    functionId=required(Uid()),
    queries=_QUERIES,
    total=optional(Boolean(loose=True), True),
)
ONE = Parameters(functionId=required(Uid()), executionId=required(Uid()))
MANY = Parameters(functionId=required(Uid()), queries=_QUERIES)
