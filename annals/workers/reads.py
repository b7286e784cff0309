"""What a worker reads for each execution, read for many at once."""

from collections.abc import Sequence
from typing import NamedTuple

from annals.application.executions.context import ACTIVE, Context, context_from
from annals.domain.base import Key
from annals.domain.execution import Execution
from annals.store.content.contents import newest
from annals.store.content.inputs import KIND
from annals.store.log.log import EventLog
from annals.store.postgres.database import Row
from annals.workers.gathered import Gathered


class Need(NamedTuple):
    """The function whose active deployment is to run, and the stream of what was given; each may be empty."""

    project_id: str
    function_id: str
    stream: str


class Needed(NamedTuple):
    """What was found of both: the function's context, and the row of the content."""

    context: Context | None = None
    given: Row | None = None


class Reads:
    """Raises as the store's reads do."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.execution = Gathered(self._executions)
        self.needed = Gathered(self._needed)

    async def _executions(self, keys: Sequence[Key]) -> list[Execution | None]:
        """None for what is not there."""
        found = await self._log.reader.aggregates(keys)
        return [x if isinstance(x, Execution) and not x.deleted else None for x in found]

    async def _needed(self, needs: Sequence[Need]) -> list[Needed]:
        """In one trip. A function is read once for all of its executions."""
        functions = sorted({(need.project_id, need.function_id) for need in needs if need.function_id})
        streams = [need.stream for need in needs if need.stream]
        active = (ACTIVE, ([project for project, _ in functions], [function for _, function in functions]))
        contexts, contents = await self._log.database.run_pipeline([active, newest(streams, KIND)])
        context = {functions[row["ord"] - 1]: context_from(row) for row in contexts}
        given = {row["stream"]: row for row in contents}
        return [Needed(context.get((need.project_id, need.function_id)), given.get(need.stream)) for need in needs]
