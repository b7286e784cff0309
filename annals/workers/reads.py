"""What a worker reads for each execution, read for many at once."""

from collections.abc import Sequence

from annals.domain.base import Key
from annals.domain.execution import Execution
from annals.projections.execution_context import ACTIVE, Context, context_from
from annals.store.contents import Contents
from annals.store.inputs import KIND
from annals.store.log import EventLog
from annals.workers.gathered import Gathered


class Reads:
    """Each read answers None for what is not there. Raises as the store's reads do."""

    def __init__(self, log: EventLog, contents: Contents) -> None:
        self._log, self._contents = log, contents
        self.execution = Gathered(self._executions)
        self.context = Gathered(self._contexts)
        self.sealed_input = Gathered(self._sealed_inputs)

    async def _executions(self, keys: Sequence[Key]) -> list[Execution | None]:
        found = await self._log.facts.aggregates(keys)
        return [x if isinstance(x, Execution) and not x.deleted else None for x in found]

    async def _contexts(self, keys: Sequence[tuple[str, str]]) -> list[Context | None]:
        """Functions by project and id, with the deployment that answers."""
        wanted = sorted(set(keys))
        projects, functions = zip(*wanted, strict=True)
        rows = await self._log.database.rows(ACTIVE, (list(projects), list(functions)))
        found = {wanted[row["ord"] - 1]: context_from(row) for row in rows}
        return [found.get(key) for key in keys]

    async def _sealed_inputs(self, streams: Sequence[str]) -> list[bytes | None]:
        found = await self._contents.read_all(streams, KIND)
        return [found.get(stream) for stream in streams]
