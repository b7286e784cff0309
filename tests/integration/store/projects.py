"""Projects as the vault sees them: a row that data keys belong to, and the deletion of both."""

from annals.store.postgres.database import Database
from annals.store.secrets.vault import CHANNEL


async def add_project(database: Database, *project_ids: str) -> None:
    """Insert the rows of projects, as their creation does."""
    for project_id in project_ids:
        await database.execute(
            "INSERT INTO projects (stream_id, version, sequence, project_id, name, created_at, updated_at)"
            " VALUES ('project:' || %(id)s, 1, 1, %(id)s, %(id)s, now(), now())",
            {"id": project_id},
        )


async def delete_project(database: Database, project_id: str) -> None:
    """Delete a project with its data key, and send the notification, as its deletion does."""
    async with database.transaction() as conn:
        await conn.execute("SELECT FROM projects WHERE project_id = %s FOR UPDATE", (project_id,))
        await conn.execute("DELETE FROM data_keys WHERE project = %s", (project_id,))
        await conn.execute("DELETE FROM projects WHERE project_id = %s", (project_id,))
        await conn.execute("SELECT pg_notify(%s, %s)", (CHANNEL, project_id))
