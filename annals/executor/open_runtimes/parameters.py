"""Parameters of the Open Runtimes executor API: a runtime to create, an execution to run.

Fields are read from JSON or multipart bodies or the query, with the loose types that clients send.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import parse_qsl

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from annals.domain.decoding import UNREADABLE
from annals.domain.ports import Limits
from annals.executor.open_runtimes.errors import ApiError

PARTS = 100
QUERY_FIELDS = 100
NAMES = 1000
VALUE_BYTES = 100_000
VARIABLES_BYTES = 1024 * 1024
HEADERS_BYTES = 65_535
RUNTIME_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
CACHE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_decode = msgspec.json.Decoder().decode


class Fields:
    """The fields of a request by name. Every reader raises ApiError with the parameter's name for an invalid value."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    @classmethod
    def of_query(cls, query: bytes) -> Self:
        """Return the fields of a query."""
        try:
            return cls(dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=QUERY_FIELDS)))
        except ValueError:
            raise _invalid("The query has too many fields.") from None

    @classmethod
    def of_body(cls, content_type: str, body: bytes) -> Self:
        """Return the fields of a body."""
        if not body:
            return cls({})
        kind, options = parse_options_header(content_type)
        if kind.strip().lower().startswith("multipart/"):
            return cls(_parts(options.get("boundary", ""), body))
        try:
            values = _decode(body)
        except UNREADABLE:
            raise _invalid("The body is neither a JSON object nor multipart/form-data.") from None
        if not isinstance(values, dict):
            raise _invalid("The body must be a JSON object.")
        return cls(values)

    def text(self, name: str, most: int, *, least: int = 0, default: str = "") -> str:
        """Return text of `least` to `most` characters."""
        value = self._values.get(name)
        if value is None:
            value = default
        if not isinstance(value, str) or not least <= len(value) <= most or "\0" in value:
            raise _invalid(f"Param `{name}` must be text of {least} to {most} characters without zero bytes.")
        return value

    def content(self, name: str, most: int) -> bytes:
        """Return text or bytes as bytes, at most `most` of them."""
        value = self._values.get(name)
        found = b"" if value is None else value.encode("utf-8", "replace") if isinstance(value, str) else value
        if not isinstance(found, bytes) or len(found) > most:
            raise _invalid(f"Param `{name}` must be text of at most {most} bytes.")
        return found

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """Return a number, which may be sent as text."""
        value = self._values.get(name)
        if value is None or value == "":
            return default
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not least <= number <= most:
            raise _invalid(f"Param `{name}` must be a number from {least:g} to {most:g}.")
        return number

    def flag(self, name: str, default: bool) -> bool:
        """Return a Boolean, which may be sent as text or as 1 or 0."""
        value = self._values.get(name)
        if value is None or value == "":
            return default
        known = {"true": True, "1": True, "false": False, "0": False}
        found = known.get(str(value).lower()) if isinstance(value, bool | int | str) else None
        if found is None:
            raise _invalid(f"Param `{name}` must be true or false.")
        return found

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """Return one of several words; upper and lower case are equal."""
        value = self.text(name, 64) or default
        for choice in choices:
            if value.lower() == choice.lower():
                return choice
        raise _invalid(f"Param `{name}` must be one of {', '.join(choices)}.")

    def pairs(self, name: str, most_bytes: int) -> list[tuple[str, str]]:
        """Return the pairs of an object or of JSON text of one. Values become text; a list repeats its name."""
        value = self._values.get(name)
        if isinstance(value, str) and value.strip():
            try:
                value = _decode(value)
            except UNREADABLE:
                value = 0
        found = {} if value in (None, "", []) else value
        if not isinstance(found, dict) or len(found) > NAMES:
            raise _invalid(f"Param `{name}` must be an object of at most {NAMES} names.")
        pairs = [(str(key), _as_text(value)) for key, item in found.items() for value in _as_list(item)]
        if sum(len(key.encode()) + len(text.encode()) for key, text in pairs) > most_bytes:
            raise _invalid(f"Param `{name}` must not be larger than {most_bytes} bytes.")
        return pairs

    def variables(self) -> dict[str, str]:
        """Return the environment variables. Raises ApiError for a name or value that no environment can hold."""
        found = dict(self.pairs("variables", VARIABLES_BYTES))
        for key, value in found.items():
            if not key or "=" in key or "\0" in key + value or len(value.encode()) > VALUE_BYTES:
                raise _invalid(f"Param `variables` contains {key[:64]!r}, which cannot be an environment variable.")
        return found


def runtime_id(value: str) -> str:
    """Return the id. Raises ApiError if it is invalid."""
    if not RUNTIME_ID.fullmatch(value):
        raise _invalid("Param `runtimeId` must be 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first.")
    return value


def cache_key(value: str) -> str:
    """Return the key, which may be empty. Raises ApiError if it is invalid."""
    if value and not CACHE_KEY.fullmatch(value):
        raise _invalid(
            "Param `cacheKey` must be letters, digits, `.`, `_` and `-`, a letter or digit first, at most 128."
        )
    return value


def _invalid(message: str) -> ApiError:
    return ApiError("general_argument_invalid", message)


def _as_list(item: object) -> list[object]:
    return item if isinstance(item, list) else [item]


def _as_text(item: object) -> str:
    if isinstance(item, str):
        return item
    return "" if item is None else msgspec.json.encode(item).decode()


def _parts(boundary: str, body: bytes) -> dict[str, str | bytes]:
    """Return every part as a field: text if it is UTF-8, otherwise bytes."""
    found: dict[str, str | bytes] = {}
    name, content = "", bytearray()
    try:
        parser = PushMultipartParser(boundary, max_segment_count=PARTS, max_header_count=16)
        for event in parser.parse(body) if boundary else ():
            match event:
                case MultipartSegment():
                    name, content = event.name, bytearray()
                case None:
                    found[name] = _text_of(bytes(content))
                case piece:
                    content += piece
        parser.close()
    except (MultipartError, ValueError):
        raise _invalid("The multipart body cannot be read.") from None
    return found


def _text_of(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


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
