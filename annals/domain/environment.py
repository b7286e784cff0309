"""The environment that user code sees (http-api.md 9.1, 9.2), and the digest that keys its instances."""

import hashlib
from collections.abc import Mapping

import msgspec


class InstanceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The variables about this instance that every function gets; `endpoint` ends in /v1."""

    endpoint: str
    version: str
    region: str


class EnvironmentSubject(msgspec.Struct, frozen=True, kw_only=True):
    """The function and deployment of an environment. `runtime_name` is the display name (`Node.js`)."""

    project_id: str
    function_id: str
    function_name: str
    deployment_id: str
    deployment_type: str
    runtime_name: str
    runtime_version: str
    cpus: float
    memory_mb: int


VCS_NAMES = (
    "APPWRITE_VCS_REPOSITORY_ID",
    "APPWRITE_VCS_REPOSITORY_NAME",
    "APPWRITE_VCS_REPOSITORY_OWNER",
    "APPWRITE_VCS_REPOSITORY_URL",
    "APPWRITE_VCS_REPOSITORY_BRANCH",
    "APPWRITE_VCS_REPOSITORY_BRANCH_URL",
    "APPWRITE_VCS_COMMIT_HASH",
    "APPWRITE_VCS_COMMIT_MESSAGE",
    "APPWRITE_VCS_COMMIT_URL",
    "APPWRITE_VCS_COMMIT_AUTHOR_NAME",
    "APPWRITE_VCS_COMMIT_AUTHOR_URL",
    "APPWRITE_VCS_ROOT_DIRECTORY",
)


def environment(
    platform: InstanceInfo,
    subject: EnvironmentSubject,
    *,
    project_variables: Mapping[str, str],
    function_variables: Mapping[str, str],
    origin: Mapping[str, str],
) -> dict[str, str]:
    """Return project variables, function variables and the reserved names. Later ones override earlier ones.

    `origin` holds APPWRITE_VCS_* values; missing ones are empty.
    """
    return {
        **project_variables,
        **function_variables,
        **{name: origin.get(name, "") for name in VCS_NAMES},
        "APPWRITE_FUNCTION_API_ENDPOINT": platform.endpoint,
        "APPWRITE_FUNCTION_ID": subject.function_id,
        "APPWRITE_FUNCTION_NAME": subject.function_name,
        "APPWRITE_FUNCTION_DEPLOYMENT": subject.deployment_id,
        "APPWRITE_FUNCTION_PROJECT_ID": subject.project_id,
        "APPWRITE_FUNCTION_RUNTIME_NAME": subject.runtime_name,
        "APPWRITE_FUNCTION_RUNTIME_VERSION": subject.runtime_version,
        "APPWRITE_FUNCTION_CPUS": plain_number(subject.cpus),
        "APPWRITE_FUNCTION_MEMORY": str(subject.memory_mb),
        "APPWRITE_VERSION": platform.version,
        "APPWRITE_REGION": platform.region,
        "APPWRITE_DEPLOYMENT_TYPE": subject.deployment_type,
    }


def plain_number(value: float) -> str:
    """Return a number as text: `1`, not `1.0`, for whole numbers."""
    return str(int(value)) if value == int(value) else str(value)


def environment_digest(variables: Mapping[str, str], *, runtime: str, entrypoint: str) -> str:
    """Return the SHA-256 of everything besides the code that makes two instances differ."""
    canonical = msgspec.json.encode([sorted(variables.items()), runtime, entrypoint])
    return hashlib.sha256(canonical).hexdigest()
