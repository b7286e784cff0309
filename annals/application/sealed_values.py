"""The sealed values that an event brings into the log: the append checks that their data key is still current."""

from typing import Any

from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.user import User


def sealed_values(event: Any) -> list[str]:
    """Return the values that an event records for the first time; repeated ones were checked before."""
    match event:
        case Function.VariableAdded() | Project.VariableAdded():
            return [event.variable.sealed]
        case Function.VariableChanged() | Project.VariableChanged():
            return [event.variable.sealed] if "value" in event.changed else []
        case Project.InstallationAdded():
            return [event.installation.sealed]
        case User.Created() | User.PasswordSet():
            return [event.sealed_password] if event.sealed_password else []
    return []
