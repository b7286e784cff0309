"""Steps of a random history for sources in repositories and for installations."""

from typing import Any

from annals.domain.commands import deployments
from annals.domain.deployment import Deployment
from annals.domain.origin import Origin, Remote
from annals.domain.project import Installation, Project
from tests.integration.projections.history import artefact

REPOSITORY_ACTIONS = ["request_source", "fetch_source", "add_installation", "remove_installation"]
REPOSITORY_BEGINNING: list[tuple[str, int, int, bool]] = [
    ("request_source", 3, 1, True),
    ("claim_build", 3, 0, True),
    ("fetch_source", 3, 0, True),
    ("add_installation", 0, 0, True),
]


class RepositoryActor:
    """The steps; the complete actor runs the commands and knows the project."""

    p: str

    async def run(self, command: Any, *keys: Any, **arguments: Any) -> None:
        raise AssertionError("the whole actor runs commands")

    async def incarnation(self, one: int) -> int:
        raise AssertionError("the whole actor knows its functions")

    async def request_source(self, one: int, other: int, flag: bool) -> None:
        await self.run(
            deployments.request_deployment,
            Deployment.absent(self.p, f"d{one}"),
            remote=Remote(owner="a", name="b", reference_type="tag", reference="1.*"),
            origin=Origin(repository_owner="a", branch="1.*"),
            project_id=self.p,
            function_id=f"f{other}",
            function_incarnation=await self.incarnation(other),
            deployment_id=f"d{one}",
            type="vcs",
            entrypoint="",
            commands="",
            activate=flag,
        )

    async def fetch_source(self, one: int, other: int, flag: bool) -> None:
        origin = Origin(repository_id="7", branch="1.2.0", commit_hash="c" * 40, root_directory="fn" if flag else "")
        source = artefact(f"r{one}", 20 + other)
        await self.run(
            Deployment.store_fetched, Deployment.key(self.p, f"d{one}"), epoch=1, source=source, origin=origin
        )

    async def add_installation(self, one: int, other: int, flag: bool) -> None:
        installation = Installation(
            installation_id=f"i{other}", provider="git" if flag else "github", organization="o", url="", sealed="s"
        )
        await self.run(Project.add_installation, Project.key(self.p), installation=installation)

    async def remove_installation(self, one: int, other: int, flag: bool) -> None:
        await self.run(Project.remove_installation, Project.key(self.p), installation_id=f"i{other}")
