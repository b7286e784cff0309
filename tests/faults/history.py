"""The recorded history of a real instance, checked by the simulation's ledger for lost updates and second ends."""

from itertools import groupby
from typing import Any

import psycopg
from psycopg.rows import dict_row

from annals.domain.deployment import Deployment
from annals.store.postgres import sql
from tests.instance import AnnalsInstance
from tests.simulation.ledger import Ledger, other_versions

QUERIES = sql.load(__package__, "invariants.sql")


class History(Ledger):
    """All events that were recorded so far, commit by commit; `wrong` lists the violations."""

    def __init__(self, instance: AnnalsInstance) -> None:
        self.wrong: list[str] = []
        super().__init__(self.wrong.append)
        with psycopg.connect(instance.database_url, row_factory=dict_row) as conn:
            rows = conn.execute(QUERIES["history"].encode()).fetchall()
        for _, commit in groupby(rows, lambda row: row["commit"]):
            self.committed(list(commit))
        self.wrong += other_versions(event for _, event in self.events)
        deleted = [deployment for deployment in self.active.values() if self._is_deleted(deployment)]
        self.wrong += [f"{deployment} is active but deleted" for deployment in deleted]

    def of(self, stream: str, kind: type[Any]) -> list[Any]:
        """Return the events of one kind in a stream."""
        return [event for _, event in self.events if event.originator_id == stream and isinstance(event, kind)]

    def judge_origin(self, event: Any) -> None:
        """Accept any origin: real hosts do not report epochs."""

    def judge_artefact(self, event: Deployment.BuildSucceeded) -> None:
        """Accept any artefact: the sizes of real artefacts vary."""

    def _is_deleted(self, deployment: str) -> bool:
        known = self.streams.get(deployment)
        function = known and self.streams.get(f"function:{known.created.project_id}:{known.created.function_id}")
        return known is None or (known.deleted and not (function and function.deleted))
