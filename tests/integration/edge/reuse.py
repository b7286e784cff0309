"""Projects whose id is used again, and a second API process on the same database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from annals.app.identity.secret_keys import digest
from annals.app.services import Services
from annals.app.wiring import open_services
from annals.application.deletion import end_project
from annals.domain.commands.projects import create_project
from annals.domain.project import ApiKey, Project
from annals.domain.scopes import PROJECT_SCOPES
from annals.settings import Settings
from annals.store.log.log import Meta
from annals.telemetry.metrics import Metrics
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.routes import edge_of

META = Meta(actor="test")


@asynccontextmanager
async def another_process(settings: Settings, executor: FakeExecutor) -> AsyncIterator[tuple[Services, Client]]:
    """A second API process with its own caches, and a client of it with the key of p1."""
    async with open_services(settings, executor, Metrics()) as services:
        edge = edge_of(services)
        headers = {"host": "annals.test:80", "x-appwrite-project": "p1", "x-appwrite-key": "p1-all"}
        yield services, Client(edge, headers)


async def create(services: Services, project_id: str = "p1", *, api_key: str = "p1-all") -> int:
    """Create a project with one API key; return the position of its creation."""
    key = ApiKey(key_id="all", name="all", digest=digest(api_key), scopes=list(PROJECT_SCOPES))
    recorded = await services.log.run(
        create_project, Project.absent(project_id), meta=META, project_id=project_id, name=project_id, keys=[key]
    )
    return int(recorded.rows["projects"][0]["sequence"])


async def recreate(services: Services, project_id: str = "p1", *, api_key: str = "p1-all") -> int:
    """Delete a project and create it again; return the position of its creation."""
    await end_project(services.log, project_id, META)
    return await create(services, project_id, api_key=api_key)
