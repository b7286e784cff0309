"""Batches of facts applied to the inline read models, for rebuilding them.

Executions, most of any log, are folded and written together; everything else keeps its statements and their order. A
project, a function's birth or death and a sweep wait for what is before them: they touch executions or their counts.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.retention import Retention
from annals.projections import executions_fold
from annals.projections.inline import project
from annals.store.database import Connection
from annals.store.facts import Fact

_ALONE = (Project.Event, Retention.Event, Function.Created, Function.Deleted)


async def apply(conn: Connection, facts: Sequence[Fact]) -> None:
    """Bring the inline tables that the connection sees forward by some facts."""
    for stretch in _stretches(facts):
        runs: list[Fact] = []
        others: list[Any] = []
        for fact in stretch:
            if isinstance(fact.event, Execution.Event):
                runs.append(fact)
            else:
                others.append(fact.event)
        await executions_fold.apply(conn, runs)
        statements = [statement for event in others for statement in project(event)]
        for text, run in groupby(statements, key=lambda statement: statement.sql):
            async with conn.cursor() as cursor:
                await cursor.executemany(text, [statement.params for statement in run])


def _stretches(facts: Sequence[Fact]) -> Iterator[Sequence[Fact]]:
    """Facts between which executions may be taken out of turn."""
    start = 0
    for index, fact in enumerate(facts):
        if not isinstance(fact.event, Execution.Event) and isinstance(fact.event, _ALONE):
            yield facts[start:index]
            yield facts[index : index + 1]
            start = index + 1
    yield facts[start:]
