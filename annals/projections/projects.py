"""Projects, with their keys, services, platforms, shared variables and installations.

The credentials of installations stay in the log, encrypted.
"""

from collections.abc import Mapping

from annals.domain.project import Project
from annals.projections.projectors import Projector, writes
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "projects.sql")

PROJECTORS: Mapping[type, Projector] = {
    Project.Created: writes(QUERIES["created"], "projects"),
    Project.Renamed: writes(QUERIES["renamed"], "projects"),
    Project.Deleted: writes(QUERIES["deleted"]),
    Project.KeyAdded: writes(QUERIES["key_added"], "keys", part="key"),
    Project.KeyRevoked: writes(QUERIES["key_revoked"]),
    Project.ServiceSwitched: writes(QUERIES["service_switched"], "projects"),
    Project.PlatformAdded: writes(QUERIES["platform_added"], "platforms", part="platform"),
    Project.PlatformRemoved: writes(QUERIES["platform_removed"]),
    Project.VariableAdded: writes(QUERIES["variable_added"], "variables", part="variable"),
    Project.VariableChanged: writes(QUERIES["variable_changed"], "variables", part="variable"),
    Project.VariableRemoved: writes(QUERIES["variable_removed"]),
    Project.InstallationAdded: writes(QUERIES["installation_added"], "installations", part="installation"),
    Project.InstallationRemoved: writes(QUERIES["installation_removed"]),
}
