"""A function's new configuration from what an update names: a replacement, but for what is kept (http-api.md 7.9)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from annals.domain.errors import ArgumentInvalid
from annals.domain.function import Configuration

_LINK = ("installation_id", "provider_repository_id", "provider_branch", "provider_root_directory")
_KEPT_WHEN_UNSAID = (
    "runtime",
    "build_specification",
    "runtime_specification",
    "provider_branches",
    "provider_paths",
)


def revised(former: Configuration, given: Mapping[str, Any]) -> Configuration:
    """The configuration after an update; `given` holds every field by its name, None for what was not said.

    Raises ArgumentInvalid for a repository without its installation or branch.
    """
    fields = dict(given)
    for name in _KEPT_WHEN_UNSAID:
        if fields[name] is None:
            fields[name] = getattr(former, name)
    fields["entrypoint"] = fields["entrypoint"] or former.entrypoint
    _link(fields, former)
    return msgspec.convert(fields, Configuration)


def _link(fields: dict[str, Any], former: Configuration) -> None:
    """What the update makes of the connection to a repository."""
    repository = fields["provider_repository_id"]
    connected = former.provider_repository_id != ""
    require_whole_link(repository, fields["installation_id"], fields["provider_branch"])
    if connected and repository is None:
        fields["installation_id"] = former.installation_id
        fields["provider_repository_id"] = former.provider_repository_id
        fields["provider_branch"] = fields["provider_branch"] or former.provider_branch
        fields["provider_root_directory"] = fields["provider_root_directory"] or former.provider_root_directory
    elif connected and repository == "":
        fields.update(dict.fromkeys(_LINK, ""))
        fields.update(provider_branches=[], provider_paths=[], provider_silent_mode=True)
    elif repository is None:
        fields["provider_repository_id"] = ""


def require_whole_link(repository: str | None, installation: str, branch: str) -> None:
    """Raises ArgumentInvalid for a repository without its installation or branch."""
    if repository and not (installation and branch):
        raise ArgumentInvalid("A repository needs installationId and providerBranch beside it.")
