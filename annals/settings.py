"""The one settings module: `ANNALS_*` variables (and a `.env` file) read into one typed struct.

It imports little, since every command of the CLI begins here. One file because a person looks for a setting in one
place, and the docs' table follows its order.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from annals import addresses
from annals.domain.catalogue import Specification, allowed_specifications
from annals.domain.ports import IDLE_POOL, PASSTHROUGH

PREFIX = "ANNALS_"
_DOTENV_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")


class Invalid(Exception):
    """Settings that can't be used; the message names the setting and what to write instead."""


def _says(sentence: str, unit: str = "", *, ge: float | None = None, le: float | None = None) -> msgspec.Meta:
    """Describe a setting: its sentence, its unit and its bounds."""
    return msgspec.Meta(description=sentence, extra={"unit": unit}, ge=ge, le=le)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a person can set; each field's description and unit are its documentation."""

    # where things are
    data: Annotated[
        Path, _says("Folder of everything that must last: database, blobs, keys, installed runtimes.", "folder")
    ] = Path(".annals")
    host: Annotated[str, _says("Address that the API listens on.", "address")] = "127.0.0.1"
    port: Annotated[int, _says("Port of the API; 0 picks a free one.", "port", ge=0, le=65535)] = 8080
    public_url: Annotated[
        str, _says("How clients and functions reach the API, with `/v1`; empty: made of host and port.", "URL")
    ] = ""
    functions_api_url: Annotated[
        str,
        _says(
            "How functions reach the API, with `/v1`, where that differs from clients; the docker driver checks it at"
            " its start. Empty: as clients do.",
            "URL",
        ),
    ] = ""
    api_socket: Annotated[
        str,
        _says(
            "Unix socket over which `annals listen` passes its listening socket to API processes; empty: each listens"
            " itself.",
            "file",
        ),
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        _says("Reverse proxies whose `X-Forwarded-For` and `-Proto` are believed: addresses, networks.", "comma list"),
    ] = ()
    functions_domain: Annotated[
        str, _says("Names below this one are functions' own: `<name>.functions.localhost`.", "host name")
    ] = "functions.localhost"
    domain_verification: Annotated[
        Literal["none", "txt"],
        _says("What a rule for a name not below the functions domain needs: nothing, or a TXT record as proof."),
    ] = "none"
    dns_servers: Annotated[
        tuple[str, ...],
        _says("Resolvers asked for that record, an address with or without a port; empty: the host's.", "comma list"),
    ] = ()
    region: Annotated[str, _says("Name of this instance's region, as functions see it in `APPWRITE_REGION`.")] = (
        "default"
    )
    database_url: Annotated[
        str,
        _says(
            "PostgreSQL 17 or newer, as libpq takes it: of several hosts (`host1:5432,host2:5432`) the one that takes"
            " writes; empty: `annals up` runs an embedded one.",
            "URL",
        ),
    ] = ""
    redis_url: Annotated[
        str, _says("Redis or Valkey that carries the queue; empty: `annals up` runs an embedded one.", "URL")
    ] = ""
    blobs_url: Annotated[
        str,
        _says(
            "Keeps archives and large contents, `file:`, `s3:`, `gs:` or `az:`; empty: a folder below the data.",
            "URL",
        ),
    ] = ""
    master_key_file: Annotated[
        str,
        _says("Key that wraps the projects' keys, made at the first start; empty: `master.key` in the data.", "file"),
    ] = ""
    seal_key_file: Annotated[
        str,
        _says("Key that signs the log's checkpoints, made when missing; empty: `seal.key` in the data.", "file"),
    ] = ""
    admin_email: Annotated[
        str, _says("Admin that a start makes when missing; the password is in `admin.json` in the data.", "address")
    ] = ""
    checkpoint_places: Annotated[
        tuple[str, ...],
        _says("Where checkpoints are written beside the blob store: folders, or URLs like its own.", "comma list"),
    ] = ()
    checkpoint_s: Annotated[
        int, _says("While the log grows, a checkpoint is signed so often.", "seconds", ge=1, le=86_400)
    ] = 60

    # processes
    api_processes: Annotated[
        int, _says("API processes that `annals up` runs on the one port.", "processes", ge=1, le=64)
    ] = 2
    workers: Annotated[int, _says("Worker processes that `annals up` runs.", "processes", ge=1, le=64)] = 1
    worker_executions: Annotated[
        int, _says("Executions that one worker process holds at once.", "executions", ge=1, le=10_000)
    ] = 128
    worker_builds: Annotated[int, _says("Builds that one worker process holds at once.", "builds", ge=1, le=64)] = 2
    worker_builds_reserve: Annotated[
        int,
        _says(
            "Builds beyond these that one worker process holds, of projects that have none running: short ones, and "
            "any while one project has more than half of the slots.",
            "builds",
            ge=0,
            le=64,
        ),
    ] = 1
    lease_s: Annotated[
        int,
        _says(
            "A process that shows no sign of life for so long is judged lost and its work is taken up again.",
            "seconds",
            ge=2,
            le=300,
        ),
    ] = 10

    # executors
    executor_urls: Annotated[
        tuple[str, ...],
        _says(
            "Executors to use, `unix:/path` or `tcp:host:port` each; empty: `annals up` runs one here.", "comma list"
        ),
    ] = ()
    executor_listen: Annotated[
        str,
        _says(
            "Where `annals executor` listens, `unix:/path` or `tcp:host:port`; TCP needs the three TLS files.",
            "address",
        ),
    ] = ""
    tls_certificate_file: Annotated[
        str, _says("Certificate (PEM) of this process in the mutual TLS between hosts.", "file")
    ] = ""
    tls_key_file: Annotated[str, _says("Private key (PEM) of that certificate.", "file")] = ""
    tls_authority_file: Annotated[
        str, _says("Certificate authority (PEM) that both ends of the mutual TLS must be signed by.", "file")
    ] = ""
    facade_listen: Annotated[
        str,
        _says(
            "Where the executor serves other control planes by the contract's own HTTP API; empty: nowhere.",
            "host:port",
        ),
    ] = ""
    facade_secret_file: Annotated[str, _says("Holds the secret that they send, 16 characters or more.", "file")] = ""
    facade_storage_url: Annotated[
        str, _says("Store whose keys are the paths that they name; empty: `facade` in the data.", "URL or folder")
    ] = ""
    driver: Annotated[
        Literal["auto", "sandbox", "docker"],
        _says("What isolates functions; `auto` takes docker where an engine answers, else sandbox."),
    ] = "auto"
    docker_host: Annotated[str, _says("Container engine of the docker driver; empty: the usual socket.", "URL")] = ""
    docker_network: Annotated[
        str, _says("The engine's network that functions run in; the docker driver creates it if it is missing.")
    ] = "annals"
    bwrap: Annotated[
        str,
        _says(
            "bubblewrap of the sandbox driver; empty: the system's from version 0.12 on, else the bundled one.", "file"
        ),
    ] = ""
    sandbox_network: Annotated[
        Literal["host", "isolated"], _says("Network of the sandbox driver: the host's own, or one for each instance.")
    ] = "host"
    images: Annotated[dict[str, str], _says("Images of the docker driver, `runtime=image` each.", "comma list")] = (
        msgspec.field(default_factory=dict)
    )
    runtimes: Annotated[tuple[str, ...], _says("Runtime ids that this instance offers; empty: all.", "comma list")] = ()
    idle_timeout_s: Annotated[
        int, _says("A warm instance that has had nothing to do for so long is ended.", "seconds", ge=1)
    ] = 300
    reserve: Annotated[
        dict[str, Annotated[int, msgspec.Meta(ge=0, le=64)]],
        _says(
            "Idle function servers kept for first calls, `runtime=number` each; `*`: all runtimes in use.", "comma list"
        ),
    ] = msgspec.field(default_factory=lambda: dict(IDLE_POOL))
    build_env_passthrough: Annotated[
        tuple[str, ...],
        _says("Variables of the executor's environment that builds see (`*` at the end: a prefix).", "comma list"),
    ] = PASSTHROUGH

    build_write_bytes_s: Annotated[
        int,
        _says(
            "Bytes that the builds of one project write to an executor's disk in a second, beyond 16 seconds' worth at"
            " once; a build that writes more is paused. 0: any number.",
            "bytes",
            ge=0,
        ),
    ] = 16 * 1024**2

    # repositories
    git_remotes: Annotated[
        dict[str, str],
        _says("URLs of repositories, `owner/repository=url` each; `file:` and internal hosts too.", "comma list"),
    ] = msgspec.field(default_factory=dict)
    git_allowed_hosts: Annotated[
        tuple[str, ...], _says("Hosts that a project may fetch from though they are internal; `*`: any.", "comma list")
    ] = ()
    git_timeout_s: Annotated[int, _says("Longest fetch of a source from a repository.", "seconds", ge=1)] = 120
    git_transfer_limit_bytes: Annotated[int, _says("Most bytes that one fetch receives.", "bytes", ge=1)] = 500_000_000

    # logs and metrics
    metrics_folder: Annotated[
        str,
        _says(
            "Where the processes of one host share their metrics; empty: each tells its own. `annals up` sets it.",
            "folder",
        ),
    ] = ""
    process_name: Annotated[
        str,
        _says("Names this process among its host's, in the metrics folder; empty: role and pid. `annals up` sets it."),
    ] = ""
    health_file: Annotated[
        str,
        _says(
            "File that a ready process writes every two seconds, for health checks of its container; empty: none.",
            "file",
        ),
    ] = ""
    log_format: Annotated[
        Literal["auto", "json", "console"],
        _says("How logs are written; `auto`: for reading on a terminal, else JSON lines."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _says("Least important kind of log line that is written.")
    ] = "info"

    # limits of what is taken and what runs at once
    functions_create_quota: Annotated[
        int, _says("Functions a project may create; 0: no limit, as on `annals up`.", "functions a day", ge=0)
    ] = 50
    client_input_bytes: Annotated[
        int,
        _says(
            "Bytes that users and guests of a project may send to asynchronous executions, of inputs beyond 4 KiB; "
            "0: no limit.",
            "bytes a day",
            ge=0,
        ),
    ] = 1024 * 1024 * 1024
    execution_retention_days: Annotated[
        int, _says("Executions older than this are removed; 0: never.", "days", ge=0)
    ] = 14
    log_archive_days: Annotated[
        int, _says("Sealed events older than this move to the blob store, compressed; 0: never.", "days", ge=0)
    ] = 90
    upload_limit_bytes: Annotated[int, _says("Largest source archive; 0: no limit.", "bytes", ge=0)] = 30_000_000
    log_limit_bytes: Annotated[
        int,
        _says(
            "Most of an execution's logs, and of its errors, that is kept beyond the 1,000,000 characters of its "
            "record; 0: nothing.",
            "bytes",
            ge=0,
            le=128 * 1024 * 1024,
        ),
    ] = 32 * 1024 * 1024
    build_timeout_s: Annotated[int, _says("Longest build.", "seconds", ge=1)] = 900
    build_output_limit_bytes: Annotated[int, _says("Largest result of a build.", "bytes", ge=1)] = 2_000_000_000
    start_timeout_s: Annotated[
        int, _says("Longest start of an instance; a function's own timeout begins after it.", "seconds", ge=1)
    ] = 30
    function_timeout_max_s: Annotated[int, _says("Longest timeout that a function may have.", "seconds", ge=1)] = 900
    sync_wait_s: Annotated[int, _says("Longest wait of a synchronous execution.", "seconds", ge=1)] = 30
    database_patience_s: Annotated[
        int,
        _says(
            "How long a request waits for a Postgres that is away, as while it is started again; then it gets 503.",
            "seconds",
            ge=1,
            le=60,
        ),
    ] = 5
    specification_max_cpus: Annotated[
        float, _says("Specifications with more cores are not offered; 0: no limit.", "cores", ge=0)
    ] = 0.0
    specification_max_memory_mb: Annotated[
        int, _says("Specifications with more memory are not offered; 0: no limit.", "MiB", ge=0)
    ] = 0
    idempotency_keys: Annotated[
        int,
        _says(
            "Idempotency keys that a project has kept at once, of its API keys and admins, and as many of its users; "
            "0: no limit.",
            "keys of a day",
            ge=0,
        ),
    ] = 100_000
    idempotency_bytes: Annotated[
        int,
        _says("Bytes of answers that are kept for these, and for those of users; 0: no limit.", "bytes of a day", ge=0),
    ] = 256 * 1024 * 1024
    idempotency_answer_bytes: Annotated[
        int,
        _says("Longest answer that is kept for an idempotency key; of a longer one its id is.", "bytes", ge=0),
    ] = 1024 * 1024
    idempotency_caller_keys: Annotated[
        int,
        _says("Idempotency keys that one user, or one address of guests, has kept at once.", "keys of a day", ge=1),
    ] = 100
    idempotency_guest_keys: Annotated[
        int, _says("Idempotency keys that all guests of a project have kept at once.", "keys of a day", ge=1)
    ] = 1000
    host_executions: Annotated[
        int, _says("Executions that a host runs at once; further ones wait for their turn.", "executions", ge=1)
    ] = 256
    sync_executions: Annotated[
        int,
        _says(
            "Synchronous executions that one API process waits for at once; further ones get 503.", "executions", ge=1
        ),
    ] = 1024
    sync_queue: Annotated[
        int,
        _says(
            "Synchronous executions that wait for a function whose policy has a concurrency; further ones get 429.",
            "executions an API process",
            ge=0,
        ),
    ] = 100
    project_share: Annotated[
        int,
        _says(
            "How much of a host's, a worker's and an API process's executions at once one project may have.",
            "percent",
            ge=1,
            le=100,
        ),
    ] = 75

    @property
    def folder(self) -> Path:
        """The data folder as an absolute path."""
        return Path(os.path.abspath(self.data.expanduser()))

    @property
    def master_key(self) -> Path:
        """The master key's file, chosen or beside the data."""
        return Path(self.master_key_file) if self.master_key_file else self.folder / "master.key"

    @property
    def seal_key(self) -> Path:
        """The signing key's file, chosen or beside the data."""
        return Path(self.seal_key_file) if self.seal_key_file else self.folder / "seal.key"

    def __post_init__(self) -> None:
        try:
            addresses.parse_networks(self.trusted_proxies)
        except ValueError as error:
            raise Invalid(f"{PREFIX}TRUSTED_PROXIES is a comma list of addresses and networks: {error}.") from None
        try:
            addresses.parse_name_servers(self.dns_servers)
        except ValueError as error:
            raise Invalid(f"{PREFIX}DNS_SERVERS is a comma list of addresses, or address:port: {error}.") from None

    @property
    def blobs(self) -> str:
        """The blob store's URL, chosen or a folder beside the data."""
        return self.blobs_url or f"file://{self.folder / 'blobs'}"

    @property
    def metrics(self) -> Path | None:
        """The folder of shared metrics, if there is one."""
        return Path(self.metrics_folder) if self.metrics_folder else None

    def specifications(self) -> dict[str, Specification]:
        """The sizes that this instance offers."""
        return allowed_specifications(
            most_cpus=self.specification_max_cpus, most_memory=self.specification_max_memory_mb
        )

    def share_of(self, most: int) -> int:
        """What of so many one project may have at once."""
        return max(1, most * self.project_share // 100)

    @property
    def endpoint(self) -> str:
        """How clients reach the API, `/v1` included."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        reach = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 (told apart, not bound)
        return self.public_url.rstrip("/") or f"http://{reach}:{self.port}/v1"

    @property
    def functions_endpoint(self) -> str:
        """How functions reach the API, `/v1` included."""
        return self.functions_api_url.rstrip("/") or self.endpoint


def read(environment: Mapping[str, str] | None = None, **chosen: object) -> Settings:
    """Settings from `.env` in the working folder, then the environment, then `chosen` (None: not chosen).

    The value of any setting may be in a file, which the setting's name with `_FILE` names: a secret is then in no
    environment. Raises Invalid for an unknown name and for a value that its setting can't take.
    """
    given = os.environ if environment is None else environment
    known = {setting.name: setting for setting in described()}
    values = {**_values(_dotenv(), known), **_values({n: given[n] for n in given if n.startswith(PREFIX)}, known)}
    values.update((name, value) for name, value in chosen.items() if value is not None)
    return Settings(**values)


def _values(named: Mapping[str, str], known: Mapping[str, "Described"]) -> dict[str, Any]:
    """Return the values that one source has, by field; a setting has one value there, by name or by file."""
    values: dict[str, Any] = {}
    for name, text in named.items():
        setting = known.get(name)
        in_file = None if setting else known.get(name.removesuffix("_FILE"))
        if setting is not None:
            values[setting.field] = _parse(setting, text)
        elif in_file is None:
            raise Invalid(_unknown(name, list(known)))
        elif in_file.name in named:
            raise Invalid(f"{in_file.name} and {name} are both set. Keep one of them.")
        else:
            values[in_file.field] = _parse(in_file, _content(name, Path(text)))
    return values


def is_set(name: str) -> bool:
    """True if the environment or `.env` gives this setting (named without its prefix) a value, or a file with one."""
    names = {PREFIX + name, f"{PREFIX}{name}_FILE"}
    return not names.isdisjoint(os.environ) or not names.isdisjoint(_dotenv())


class Described(msgspec.Struct, frozen=True):
    """One setting as a person sees it: `default` as it would be written in a file, `choices` empty when free."""

    name: str
    field: str
    type: Any
    unit: str
    default: str
    sentence: str
    choices: tuple[str, ...]


def described() -> Iterator[Described]:
    """Every setting, in the order of the struct."""
    hints = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        hint = hints[field.name]
        [meta] = [part for part in get_args(hint) if isinstance(part, msgspec.Meta)]
        kind = get_args(hint)[0]
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        yield Described(
            name=PREFIX + field.name.upper(),
            field=field.name,
            type=hint,
            unit=(meta.extra or {})["unit"],
            default=as_text(default),
            sentence=meta.description or "",
            choices=get_args(kind) if get_origin(kind) is Literal else (),
        )


def as_text(value: object) -> str:
    """A setting's value as it is written in a variable."""
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return ",".join(value) if isinstance(value, tuple) else str(value)


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables that make `read` return these settings in another process."""
    return {setting.name: as_text(getattr(settings, setting.field)) for setting in described()}


def _parse(setting: Described, text: str) -> Any:
    kind = get_args(setting.type)[0]
    parts = [part.strip() for part in text.split(",") if part.strip()]
    value: Any = text.strip()
    if kind is Path:
        if not value:
            raise Invalid(f"{setting.name} is empty. Name a folder, or leave it out for {setting.default}.")
        return Path(value)
    if get_origin(kind) is tuple:
        return tuple(parts)
    if get_origin(kind) is dict:
        if any("=" not in part for part in parts):
            raise Invalid(f"{setting.name} is a comma list of name=value pairs, not {text!r}.")
        value = dict(part.split("=", 1) for part in parts)
    try:
        return msgspec.convert(value, setting.type, strict=False)
    except msgspec.ValidationError as error:
        choice = f"one of {', '.join(setting.choices)}" if setting.choices else _wanted(*get_args(setting.type)[:2])
        raise Invalid(f"{setting.name} can't be {text!r}: {choice or error}.") from None


def _content(name: str, path: Path) -> str:
    """Return the content of a file that a variable names."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{name} names {path}, which cannot be read: {error}.") from None


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in known], 1, 0.6)
    hint = f"Did you mean {PREFIX}{near[0]}?" if near else "`annals settings` lists those there are."
    return f"There is no setting {name}. {hint}"


def _wanted(kind: object, meta: msgspec.Meta) -> str:
    """What a value may be, as a person says it; empty where only the type's own word is known."""
    nouns: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false"}
    noun = nouns.get(kind, "")
    if not noun or meta.ge is None:
        return noun
    return f"{noun} of at least {meta.ge}" if meta.le is None else f"{noun} from {meta.ge} to {meta.le}"


def _dotenv() -> dict[str, str]:
    """Return the settings of a `.env` file: NAME=value, `#` comments, quotes around a value. No file has none."""
    try:
        lines = Path(".env").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    values = {}
    for line in lines:
        match = _DOTENV_LINE.fullmatch(line)
        if match and match[1].startswith(PREFIX):
            values[match[1]] = _unquoted(match[2])
    return values


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in {"'", '"'} and value.find(quote, 1) > 0:
        return value[1 : value.find(quote, 1)]
    return value.split(" #", 1)[0].rstrip()
