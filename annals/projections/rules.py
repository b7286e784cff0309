"""Rules: the host names that run functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.function import Function
from annals.domain.rule import Rule
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "rules.sql")


def _created(event: Rule.Created) -> list[Statement]:
    params = {
        "stream": event.originator_id,
        "version": event.originator_version,
        "rule_id": event.rule_id,
        "domain": event.domain,
        "function": Function.stream(event.project_id, event.function_id),
        "function_sequence": event.function_incarnation,
        "branch": event.branch,
    }
    return [Statement(QUERIES["created"], params, "rules")]


def _deleted(event: Rule.Deleted) -> list[Statement]:
    return [Statement(QUERIES["deleted"], {"stream": event.originator_id, "version": event.originator_version})]


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Rule.Created: _created,
    Rule.Deleted: _deleted,
}
