"""Commands on projects: keys, switches, platforms, variables."""

from annals.domain.base import Aggregate
from annals.domain.project import ApiKey, Installation, Platform, Project
from annals.domain.variables import Variable


def create_project(former: Project | None, *, project_id: str, name: str, keys: list[ApiKey]) -> list[Aggregate]:
    project = Project.create(former, project_id=project_id, name=name)
    for key in keys:
        project.add_key(key)
    return [project]


def rename_project(project: Project, *, name: str) -> list[Aggregate]:
    project.rename(name)
    return [project]


def delete_project(project: Project) -> list[Aggregate]:
    project.delete()
    return [project]


def add_key(project: Project, *, key: ApiKey) -> list[Aggregate]:
    project.add_key(key)
    return [project]


def revoke_key(project: Project, *, key_id: str) -> list[Aggregate]:
    project.revoke_key(key_id)
    return [project]


def switch_service(project: Project, *, service: str, enabled: bool) -> list[Aggregate]:
    project.switch_service(service, enabled=enabled)
    return [project]


def add_platform(project: Project, *, platform: Platform) -> list[Aggregate]:
    project.add_platform(platform)
    return [project]


def remove_platform(project: Project, *, platform_id: str) -> list[Aggregate]:
    project.remove_platform(platform_id)
    return [project]


def add_project_variable(project: Project, *, variable: Variable) -> list[Aggregate]:
    project.add_variable(variable)
    return [project]


def change_project_variable(
    project: Project, *, variable_id: str, key: str | None, sealed: tuple[str, str] | None, secret: bool | None
) -> list[Aggregate]:
    project.change_variable(variable_id, key=key, sealed=sealed, secret=secret)
    return [project]


def remove_project_variable(project: Project, *, variable_id: str) -> list[Aggregate]:
    project.remove_variable(variable_id)
    return [project]


def add_installation(project: Project, *, installation: Installation) -> list[Aggregate]:
    project.add_installation(installation)
    return [project]


def remove_installation(project: Project, *, installation_id: str) -> list[Aggregate]:
    project.remove_installation(installation_id)
    return [project]
