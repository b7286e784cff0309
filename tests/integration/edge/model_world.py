"""The world in which models are compared with the edge: one edge and loop for all examples of a test."""

import asyncio
from itertools import count

from annals.app.identity.secret_keys import digest
from annals.app.services import Services
from annals.domain.commands.projects import create_project
from annals.domain.project import ApiKey, Project
from annals.domain.scopes import PROJECT_SCOPES
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.routes import edge_of


class World:
    """An edge for all examples. Each example has a project of its own."""

    def __init__(self, runner: asyncio.Runner, services: Services, executor: FakeExecutor) -> None:
        self.runner, self.services, self.executor = runner, services, executor
        self.edge = edge_of(services)
        self._numbers = count(1)

    def project(self) -> tuple[str, Client]:
        name = f"m{next(self._numbers)}"
        key = ApiKey(key_id="all", name="all", digest=digest(name), scopes=list(PROJECT_SCOPES))
        made = self.services.log.run(
            create_project, Project.absent(name), meta=given.META, project_id=name, name=name, keys=[key]
        )
        self.runner.run(made)
        return name, Client(self.edge, {"x-appwrite-project": name, "x-appwrite-key": name})
