"""The API version of a caller (http-api.md 1). This is the only module that knows version numbers."""

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

_NUMBER: Final = r"([0-9]{1,9})"
_SEMVER: Final = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?", re.ASCII)
_Version = tuple[int, int, int, bool]
NEWEST_KNOWN: Final = "2.5.0"
_NEWEST_KNOWN: Final[_Version] = (2, 5, 0, True)
_FORMER: Final[_Version] = (1, 8, 0, True)


class ApiVersion(msgspec.Struct, frozen=True):
    """A caller's API version, as answers to the differences. Without a header it is 1.8 with the fields of all
    versions."""

    version: _Version
    union: bool
    warning: str = ""

    def _below(self, major: int, minor: int, patch: int) -> bool:
        return self.version < (major, minor, patch, True)

    @property
    def newest(self) -> bool:
        """True for everything marked [N] in the contract."""
        return not self._below(2, 0, 0)

    @property
    def names_variables(self) -> bool:
        """Variables are created with an id, and updated without their key."""
        return not self._below(1, 9, 4)

    @property
    def splits_specification(self) -> bool:
        """Build and runtime have a specification each."""
        return not self._below(1, 9, 0)

    @property
    def former_names(self) -> bool:
        """Functions have `deployment`, deployments `size` and `buildTime`; variables have no secrets."""
        return self._below(1, 7, 0)

    @property
    def knows_scopes(self) -> bool:
        """Functions have scopes and specifications."""
        return not self._below(1, 6, 0)

    @property
    def shows_split_specification(self) -> bool:
        return self.union or self.splits_specification

    @property
    def shows_specification(self) -> bool:
        return self.knows_scopes and not self.splits_specification

    @property
    def shows_resource(self) -> bool:
        """Executions name their function as `resourceId`."""
        return self.union or self.newest

    @property
    def shows_function_id(self) -> bool:
        return not self.newest

    @property
    def most_scopes(self) -> int:
        return 200 if self.newest else 100

    @property
    def key_prefix(self) -> str:
        """The prefix of keys that running code is given."""
        return "ephemeral" if self.newest else "dynamic"


def _parse(text: str) -> _Version | None:
    match = _SEMVER.fullmatch(text)
    if match is None:
        return None
    major, minor, patch, unreleased = match.groups()
    return int(major), int(minor), int(patch), not unreleased


@lru_cache(maxsize=256)
def negotiate(header: str) -> ApiVersion:
    """Return the API version that an X-Appwrite-Response-Format header asks for. An invalid header counts as none."""
    version = _parse(header)
    if version is None:
        return ApiVersion(_FORMER, True)
    warning = ""
    if version > _NEWEST_KNOWN:
        warning = f"The response format {header} is newer than this server, which answers in {NEWEST_KNOWN}."
    return ApiVersion(version, False, warning)


def translate_function(sent: dict[str, Any], api_version: ApiVersion) -> dict[str, Any]:
    """createFunction and updateFunction: one specification stands for both."""
    specification = sent.get("specification")
    if api_version.splits_specification or not specification:
        return sent
    if api_version.union:  # parameters of the newest version are accepted too, and take precedence
        return {"buildSpecification": specification, "runtimeSpecification": specification, **_without_nulls(sent)}
    return {**sent, "buildSpecification": specification, "runtimeSpecification": specification}


def translate_template(sent: dict[str, Any], api_version: ApiVersion) -> dict[str, Any]:
    """createTemplateDeployment: a version is a tag."""
    version = sent.get("version")
    return sent if api_version.splits_specification or not version else {**sent, "type": "tag", "reference": version}


def translate_download(sent: dict[str, Any], api_version: ApiVersion) -> dict[str, Any]:
    """getDeploymentDownload: older versions only have the output."""
    return {**sent, "type": "output"} if api_version.former_names else sent


def translate_variable(sent: dict[str, Any], api_version: ApiVersion) -> dict[str, Any]:
    """createVariable and updateVariable: older versions have no ids and no secrets."""
    changes: dict[str, Any] = {}
    if not api_version.names_variables and sent.get("variableId") is None:
        changes["variableId"] = "unique()"
    if api_version.former_names:
        changes["secret"] = False
    return {**sent, **changes} if changes else sent


def _without_nulls(sent: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sent.items() if value is not None}
