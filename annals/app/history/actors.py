"""The names of those who act: of keys as they were made, of users as they are."""

from collections.abc import Iterable

from annals.app.history.events import QUERIES
from annals.domain.project import CONSOLE, Project
from annals.store.database import Database

_USERS = {"user": "", "admin": CONSOLE}


async def names_of(database: Database, project_id: str, actors: Iterable[str]) -> dict[str, str]:
    """Names by actor, of those that have one in a project."""
    wanted = {actor for actor in actors if actor.partition(":")[2]}
    names: dict[str, str] = {}
    if any(actor.startswith("key:") for actor in wanted):
        rows = await database.rows(QUERIES["keys"], {"stream": Project.stream(project_id)})
        names |= {f"key:{row['id']}": row["name"] for row in rows}
    for kind, realm in _USERS.items():
        ids = [actor.partition(":")[2] for actor in wanted if actor.startswith(f"{kind}:")]
        if ids:
            params: dict[str, object] = {"project": realm or project_id, "ids": ids}
            rows = await database.rows(QUERIES["users"], params)
            names |= {f"{kind}:{row['id']}": row["name"] for row in rows}
    return {actor: name for actor, name in names.items() if actor in wanted}
