"""Projects: services, platforms and the variables of all functions."""

import pytest

from annals.domain.errors import (
    PlatformAlreadyExists,
    PlatformNotFound,
    ProjectAlreadyExists,
    VariableAlreadyExists,
    VariableCannotUnsetSecret,
    VariableNotFound,
)
from annals.domain.project import CONSOLE, Platform, Project
from annals.domain.variables import Variable


def given_project() -> Project:
    project = Project.create(None, project_id="p", name="P")
    project.collect_events()
    return project


def variable(variable_id: str = "v", key: str = "K", *, secret: bool = False) -> Variable:
    return Variable(variable_id=variable_id, key=key, sealed="s", secret=secret, fingerprint="f")


def test_console_is_a_reserved_project_id() -> None:
    with pytest.raises(ProjectAlreadyExists):
        Project.create(None, project_id=CONSOLE, name="Mine")


def test_unchanged_switch_records_nothing() -> None:
    project = given_project()
    project.switch_service("functions", enabled=True)
    project.switch_service("functions", enabled=False)
    project.switch_service("functions", enabled=False)

    assert [event.enabled for event in project.collect_events()] == [False]  # type: ignore[attr-defined]
    assert project.disabled == {"functions"}


def test_platform_is_added_and_removed_once() -> None:
    project, platform = given_project(), Platform(platform_id="w", type="web", name="W", hostname="x.test")
    project.add_platform(platform)
    with pytest.raises(PlatformAlreadyExists):
        project.add_platform(platform)
    project.remove_platform("w")
    with pytest.raises(PlatformNotFound):
        project.remove_platform("w")


@pytest.mark.parametrize("second", [variable("v", "L"), variable("w", "K")])
def test_ids_and_keys_of_variables_are_taken(second: Variable) -> None:
    project = given_project()
    project.add_variable(variable())

    with pytest.raises(VariableAlreadyExists):
        project.add_variable(second)


def test_variable_keeps_missing_fields_and_its_secrecy() -> None:
    project = given_project()
    project.add_variable(variable())
    project.add_variable(variable("w", "L", secret=True))
    project.change_variable("v", key="M", sealed=None, secret=True)

    assert project.variable("v") == Variable(variable_id="v", key="M", sealed="s", secret=True, fingerprint="f")
    assert project.collect_events()[-1].changed == ["key", "secret"]  # type: ignore[attr-defined]
    with pytest.raises(VariableCannotUnsetSecret):
        project.change_variable("w", key=None, sealed=None, secret=False)
    with pytest.raises(VariableAlreadyExists):
        project.change_variable("v", key="L", sealed=None, secret=None)
    project.remove_variable("v")
    with pytest.raises(VariableNotFound):
        project.remove_variable("v")
