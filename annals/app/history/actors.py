"""The names of actors: of keys as they were created, of users and functions as they are now."""

from collections.abc import Iterable

from annals.app.history.events import QUERIES
from annals.domain.project import CONSOLE, Project
from annals.store.postgres.database import Database

_NAMED = {"user": ("users", ""), "admin": ("users", CONSOLE), "function": ("functions", "")}


async def names_of(database: Database, project_id: str, actors: Iterable[str]) -> dict[str, str]:
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
