"""Gauges that compare accepted work with ended and open work. They are cached for some seconds."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from annals.store.errors import StatementTooSlow, StoreUnavailable
from annals.store.log.compact_states import plain
from annals.store.postgres import sql
from annals.store.postgres.database import Database

QUERIES = sql.load(__package__, "conservation.sql")
FOLLOWERS = sql.load(__package__, "queries.sql")["followers"]

WINDOW = 20_000
"""Number of newest positions that are checked. `annals replay --check` checks the whole log."""

SECONDS = 10.0
"""Age up to which figures are used again, so that frequent scrapes cost no more than rare ones."""

KINDS = ("builds", "usage")


class _Accepted(msgspec.Struct):
    """The function of a requested execution."""

    function_id: str
    function_incarnation: int


_decode = msgspec.json.Decoder(_Accepted).decode


class Conservation:
    """One per process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looking = asyncio.Lock()
        self._text, self._until = "", 0.0

    async def text(self) -> str:
        """Return the gauges in Prometheus' text format, or an empty text if the database does not answer in time."""
        async with self._looking:
            if time.monotonic() >= self._until:
                try:
                    self._text = await self._look()
                except (StoreUnavailable, StatementTooSlow):
                    self._text = ""
                self._until = time.monotonic() + SECONDS
            return self._text

    async def _executions(self, params: Mapping[str, Any]) -> int:
        (row,) = await self._database.rows(QUERIES["executions"], params)
        lost = [_decode(plain(state)) for state in row["states"]]
        of_functions = {
            "projects": row["projects"],
            "functions": [one.function_id for one in lost],
            "incarnations": [one.function_incarnation for one in lost],
        }
        return int(row["drift"]) + int(await self._database.value(QUERIES["of_functions"], of_functions))

    async def _look(self) -> str:
        params = {"window": WINDOW, "ends_since": await self._database.value(QUERIES["ends_since"])}
        drifts = {"executions": await self._executions(params)}
        drifts |= {kind: await self._database.value(QUERIES[kind], params) for kind in KINDS}
        followers = await self._database.rows(FOLLOWERS)
        lines = [
            *_gauge(
                "annals_open",
                "Accepted work that has not ended.",
                await self._database.rows(QUERIES["open"]),
                "number",
                "kind",
                "status",
            ),
            *_gauge(
                "annals_conservation_drift",
                "Accepted work that neither ended exactly once nor is open, and usage counted wrongly.",
                [{"of": kind, "drift": drift} for kind, drift in drifts.items()],
                "drift",
                "of",
            ),
            *_gauge("annals_follower_lag", "Events that a follower has yet to read.", followers, "lag", "name"),
            *_gauge(
                "annals_follower_stopped",
                "1 if a follower has stopped at an event that it cannot process.",
                [{**row, "stopped": int(row["stopped"])} for row in followers],
                "stopped",
                "name",
            ),
        ]
        return "\n".join(lines) + "\n"


def _gauge(name: str, says: str, rows: Sequence[Mapping[str, Any]], value: str, *labels: str) -> list[str]:
    return [
        f"# HELP {name} {says}",
        f"# TYPE {name} gauge",
        *(f"{name}{{{_labels(row, labels)}}} {row[value]}" for row in rows),
    ]


def _labels(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return ",".join(f'{name}="{row[name]}"' for name in names)
