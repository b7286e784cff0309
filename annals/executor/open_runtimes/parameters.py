"""Parameters of the Open Runtimes executor API: a runtime to create, an execution to run."""

from collections.abc import Mapping

import msgspec

from annals.domain.ports import Limits
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.fields import HEADERS_BYTES, Fields, cache_key, runtime_id

VERSIONS = ("v5", "v4", "v3")
POLICIES = ("no", "always", "on-failure", "unless-stopped")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
PATH_CHARACTERS = 4096
LONGEST_SECONDS = 86_400.0
BODY_BYTES = 20_971_520
SERVERS = ("helpers/server.sh", "src/server.js", "src/server.cjs", "src/server.mjs", "src/server.py")
"""Start commands that contain one of these start the function server itself."""


class RuntimeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A requested runtime. `start` is its start command; `command` runs in it once it is up."""

    image: str
    entrypoint: str
    source: str
    variables: dict[str, str]
    start: str
    limits: Limits
    version: str
    policy: str
    command: str = ""
    destination: str = ""
    output_directory: str = ""
    cache_key: str = ""
    timeout: float = 600.0
    remove: bool = False


class ExecutionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A requested execution."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    timeout: float
    logging: bool


def creation(fields: Fields) -> tuple[str, RuntimeSpec]:
    """Return the runtime's id and specification of a `POST /runtimes`. Raises ApiError."""
    name = runtime_id(fields.text("runtimeId", 64, least=1))
    spec = msgspec.structs.replace(
        _spec(fields, image_needed=True),
        command=fields.text("command", 1024),
        destination=fields.text("destination", PATH_CHARACTERS),
        output_directory=fields.text("outputDirectory", PATH_CHARACTERS),
        cache_key=cache_key(fields.text("cacheKey", 128)),
        timeout=fields.number("timeout", 600, least=1, most=LONGEST_SECONDS),
        remove=fields.flag("remove", False),
    )
    return name, spec


def execution(fields: Fields) -> tuple[ExecutionSpec, RuntimeSpec]:
    """Return the execution of a `POST /runtimes/{id}/executions`, and the runtime to create if there is none.

    Raises ApiError.
    """
    path = fields.text("path", 2048) or "/"
    call = ExecutionSpec(
        method=fields.choice("method", METHODS, "GET"),
        path=path if path.startswith("/") else f"/{path}",
        headers=fields.pairs("headers", HEADERS_BYTES),
        body=fields.content("body", BODY_BYTES),
        timeout=fields.number("timeout", 15, least=1, most=LONGEST_SECONDS),
        logging=fields.flag("logging", True),
    )
    return call, _spec(fields, image_needed=False)


def _spec(fields: Fields, *, image_needed: bool) -> RuntimeSpec:
    return RuntimeSpec(
        image=fields.text("image", 128, least=int(image_needed)),
        entrypoint=fields.text("entrypoint", 256),
        source=fields.text("source", PATH_CHARACTERS),
        variables=fields.variables(),
        start=fields.text("runtimeEntrypoint", 1024),
        limits=Limits(
            cpus=fields.number("cpus", 1, least=0.01, most=256),
            memory_mb=int(fields.number("memory", 512, least=16, most=1024 * 1024)),
        ),
        version=fields.choice("version", VERSIONS, "v5"),
        policy=fields.choice("restartPolicy", POLICIES, "no"),
    )


def runtime_of(image: str, images: Mapping[str, str]) -> str:
    """Return an image's runtime id: from the configuration, otherwise from its name, as in `x/node:v5-22`."""
    for runtime, name in images.items():
        if name == image:
            return runtime
    language, _, tag = image.rpartition("/")[2].partition(":")
    api_version, dash, version = tag.partition("-")
    if dash and api_version[:1] == "v" and api_version[1:].isdecimal():
        tag = version
    return f"{language}-{tag}" if tag else language


def serves(spec: RuntimeSpec) -> bool:
    """Return True if a runtime starts with the function server. Raises ApiError for other start commands."""
    if spec.start and not any(server in spec.start for server in SERVERS):
        raise ApiError(
            "runtime_failed",
            "Only the function server can be a runtime's start command here: end it with `bash helpers/server.sh`.",
        )
    return bool(spec.start)
