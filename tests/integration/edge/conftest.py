"""A real API process over a real database, with an executor of the test's own and two projects."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from annals.app.identity import presented
from annals.app.identity.secret_keys import digest
from annals.app.services import Services
from annals.app.wiring import open_services
from annals.domain.commands.projects import create_project
from annals.domain.project import CONSOLE, ApiKey, Project
from annals.domain.scopes import PROJECT_SCOPES
from annals.domain.user import Session, User
from annals.settings import Settings
from annals.store.log.log import Meta
from annals.telemetry.metrics import Metrics
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor, served
from tests.integration.edge.process import Processes
from tests.integration.edge.wire import Application, OverSocket
from tests.routes import edge_of

API_VERSIONS = (None, "1.8.0", "2.5.0")
"""No header, an old API version, and the newest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Use a real process in tests of numbered checks: they take the `edge` fixture."""
    folder = Path(__file__).parent
    for item in items:
        numbered = item.path.parent == folder and item.get_closest_marker("behaviours") is not None
        if numbered and "edge" not in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid} carries a number and takes no client of the `edge` fixture")


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, database_url=database_url, functions_create_quota=0)


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor()


@pytest.fixture
async def services(settings: Settings, executor: FakeExecutor) -> AsyncIterator[Services]:
    async with open_services(settings, executor, Metrics()) as opened:
        for project_id in ("p1", "p2"):
            keys = [
                ApiKey(key_id="all", name="all", digest=digest(f"{project_id}-all"), scopes=list(PROJECT_SCOPES)),
                ApiKey(key_id="read", name="read", digest=digest(f"{project_id}-read"), scopes=["functions.read"]),
                ApiKey(key_id="none", name="none", digest=digest(f"{project_id}-none"), scopes=[]),
            ]
            await opened.log.run(
                create_project,
                Project.absent(project_id),
                meta=Meta(actor="test"),
                project_id=project_id,
                name=project_id,
                keys=keys,
            )
        yield opened


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    """The server that forks API processes."""
    opened = Processes()
    yield opened
    opened.close()


@pytest.fixture
async def edge(
    request: pytest.FixtureRequest, services: Services, executor: FakeExecutor
) -> AsyncIterator[Application]:
    """The edge: an API process of the test's own for a numbered check, otherwise in this process."""
    if request.node.get_closest_marker("behaviours") is None:
        edge = edge_of(services)
        yield edge
        return
    processes: Processes = request.getfixturevalue("processes")  # started late because it takes a second
    socket = processes.executor_socket()
    async with served(executor, socket):
        with processes.api(services.settings, socket) as log:
            yield OverSocket(processes.address)
            print(log.read_text())  # shown if the test fails


@pytest.fixture
def anonymous(edge: Application) -> Client:
    """A client without headers."""
    return Client(edge, {"host": "annals.test:80"})


@pytest.fixture(params=API_VERSIONS, ids=lambda version: version or "no header")
def key(edge: Application, request: pytest.FixtureRequest) -> Client:
    """A client with a key of the contract, in each API version."""
    headers = {"host": "annals.test:80", "x-appwrite-project": "p1", "x-appwrite-key": "p1-all"}
    return Client(edge, headers | ({"x-appwrite-response-format": request.param} if request.param else {}))


@pytest.fixture
def keys(anonymous: Client) -> list[Client]:
    """Clients with a key in every API version at once, for tests that would need a database each time."""
    key = anonymous.with_(x_appwrite_project="p1", x_appwrite_key="p1-all")
    return [key.with_(x_appwrite_response_format=version) for version in API_VERSIONS]


@pytest.fixture
def plain(edge: Application) -> Client:
    """A client with a key and no format header, for tests in which API versions make no difference."""
    return Client(edge, {"host": "annals.test:80", "x-appwrite-project": "p1", "x-appwrite-key": "p1-all"})


@pytest.fixture
async def admin(services: Services, anonymous: Client) -> Client:
    """A signed-in user of the console."""
    recorded_events: dict[str, Any] = {"name": "Ada", "email": "ada@console.test", "phone": "", "sealed_password": ""}
    await services.log.run(
        User.create, User.absent(CONSOLE, "ada"), meta=given.META, project_id=CONSOLE, user_id="ada", **recorded_events
    )
    session = Session(
        session_id="s1",
        digest=digest("secret"),
        provider="server",
        expires_at=services.now().replace(year=2099),
        ip="",
    )
    await services.log.run(User.open_session, User.key(CONSOLE, "ada"), meta=given.META, session=session)
    return anonymous.with_(cookie=f"a_session_console={presented.as_text('ada', 'secret')}")
