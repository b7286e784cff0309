"""What must be there when an event is appended: asked within its transaction, and never again when it is told anew."""

from typing import Any

from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.store import sql
from annals.store.request import Statement

QUERIES = sql.load(__package__, "required.sql")


def required(event: Any) -> list[Statement]:
    """The statements that refuse an event whose function went after it was read: nobody would sweep what it leaves."""
    if not isinstance(event, Execution.Requested):
        return []
    stream = Function.stream(event.project_id, event.function_id)
    return [Statement(QUERIES["function"], {"stream": stream, "incarnation": event.function_incarnation})]
