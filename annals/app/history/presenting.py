"""Presents recorded events in one form, for HTTP and for the command line."""

from collections.abc import Iterable, Sequence
from typing import Any

from annals.app.edge.call import Call
from annals.app.history import schemas
from annals.app.history.events import QUERIES
from annals.app.identity.scopes import FUNCTIONS_READ, PROJECT_READ
from annals.domain import redaction
from annals.domain.project import CONSOLE, Project
from annals.domain.redaction import SealedValue
from annals.store.errors import DataKeyDeleted, SealBroken
from annals.store.log.reader import RecordedEvent
from annals.store.postgres.database import Database
from annals.store.secrets.vault import Vault

VARIABLES_READ = {"function": FUNCTIONS_READ, "project": PROJECT_READ}
"""The scopes that read the variables of a kind of resource."""

Changed = tuple[RecordedEvent, Sequence[redaction.FieldChange]]


class Presenter:
    """Presents events. Values of variables that are not secret are opened for the given `kinds` of resources."""

    def __init__(self, database: Database, vault: Vault | None = None, kinds: Iterable[str] = ()) -> None:
        self._database, self._vault, self._kinds = database, vault, frozenset(kinds)

    @classmethod
    async def of_call(cls, call: Call) -> "Presenter":
        """Return a presenter that shows the values of variables which the caller may read."""
        scopes = (await call.caller()).scopes
        kinds = [kind for kind, any_of in VARIABLES_READ.items() if not scopes.isdisjoint(any_of)]
        return cls(call.services.database, call.services.vault, kinds)

    async def events(self, recorded_events: Sequence[RecordedEvent]) -> list[schemas.EventModel]:
        """Return events without their changes."""
        names = await self._names(recorded_events)
        return [schemas.present(recorded_event, names[recorded_event.project]) for recorded_event in recorded_events]

    async def unrecorded(self, project_id: str, events: Sequence[Any]) -> list[schemas.EventModel]:
        """Return events of a project that have no position in the log."""
        actors = {event.metadata.get("actor", "") for event in events}
        names = await _names_of(self._database, project_id, actors)
        return [schemas.unrecorded(event, names) for event in events]

    async def with_changes(self, changed: Sequence[Changed]) -> list[schemas.EventModel]:
        """Return events with their changes. Raises MasterKeyWrong, StoreUnavailable."""
        names = await self._names([recorded_event for recorded_event, _ in changed])
        return [
            schemas.present(
                recorded_event,
                names[recorded_event.project],
                await self.changes(recorded_event.event.originator_id, changes),
            )
            for recorded_event, changes in changed
        ]

    async def changes(self, stream: str, changes: Iterable[redaction.FieldChange]) -> list[schemas.ChangeModel]:
        """Return the changes of one resource. Raises MasterKeyWrong, StoreUnavailable."""
        return [
            schemas.ChangeModel(field, await self._shown(stream, former), await self._shown(stream, latter))
            for field, former, latter in changes
        ]

    async def _shown(self, stream: str, value: Any) -> Any:
        """Return a value in clear text if the caller may read it, otherwise its fingerprint."""
        if not isinstance(value, SealedValue):
            return value
        kind, _, rest = stream.partition(":")
        if self._vault is None or kind not in self._kinds:
            return value.fingerprint
        try:
            return await self._vault.open(rest.partition(":")[0], stream, value.variable_id, value.sealed)
        except (DataKeyDeleted, SealBroken):
            return value.fingerprint

    async def _names(self, recorded_events: Sequence[RecordedEvent]) -> dict[str, dict[str, str]]:
        """Return the names of actors by project."""
        actors: dict[str, set[str]] = {}
        for recorded_event in recorded_events:
            actors.setdefault(recorded_event.project, set()).add(recorded_event.event.metadata.get("actor", ""))
        return {project: await _names_of(self._database, project, wanted) for project, wanted in actors.items()}


_NAMED = {"user": ("users", ""), "admin": ("users", CONSOLE), "function": ("functions", "")}


async def _names_of(database: Database, project_id: str, actors: Iterable[str]) -> dict[str, str]:
    """Return names by actor, for the actors of a project that have one. An ephemeral key has its parent's name."""
    wanted = {parent for actor in actors if ":" in (parent := actor.partition("/")[0])}
    names: dict[str, str] = {}
    if any(actor.startswith("key:") for actor in wanted):
        rows = await database.rows(QUERIES["keys"], {"stream": Project.stream(project_id)})
        names |= {f"key:{row['id']}": row["name"] for row in rows}
    for kind, (query, realm) in _NAMED.items():
        ids = [actor.partition(":")[2] for actor in wanted if actor.startswith(f"{kind}:")]
        if ids:
            params: dict[str, object] = {"project": realm or project_id, "ids": ids}
            rows = await database.rows(QUERIES[query], params)
            names |= {f"{kind}:{row['id']}": row["name"] for row in rows}
    return {actor: name for actor, name in names.items() if actor in wanted}
