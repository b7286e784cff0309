"""The port of the executor, with its typed requests and answers.

These structs travel as MessagePack between processes of one version; field order is not a storage format.
"""

from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Literal, Protocol

import msgspec

Reason = Literal[
    "",
    "error",
    "timeout",
    "out_of_memory",
    "crashed",
    "start_failed",
    "response_too_large",
    "worker_lost",
    "canceled",
    "dead_lettered",
    "deployment_missing",
    "build_not_ready",
    "runtime_unavailable",
    "variable_unreadable",
]
"""The reason of a failed execution (extensions.md); empty for a success."""

BuildReason = Literal[
    "",
    "source_unavailable",
    "command_failed",
    "bad_archive",
    "empty_source",
    "empty_output",
    "entrypoint_missing",
    "output_too_large",
    "timeout",
    "out_of_memory",
    "runtime_unavailable",
    "variable_unreadable",
    "canceled",
    "worker_lost",
    "executor_lost",
]


PASSTHROUGH = (
    *("PIP_*", "NPM_CONFIG_*", "npm_config_*"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"),
)
"""The variables of an executor's environment that builds see, unless it is configured otherwise.

A `*` at the end makes a prefix. Files that the variables name are shown read-only.
"""

IDLE_POOL = MappingProxyType({"*": 2})
"""The number of idle instances of each runtime in use, unless an executor is configured otherwise."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The most that an instance or build may use: `cpus` in cores, `memory_mb` in MiB."""

    cpus: float
    memory_mb: int


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """A source or a built deployment in the blob store; `digest` is the SHA-256 in hex, `size` in bytes."""

    key: str
    digest: str
    size: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One execution to run.

    `deployment` and `environment_digest` are the key of the instance. `start_seconds` limits the start of an instance,
    `run_seconds` the code. `headers` keep order and duplicates. `max_instances` limits the instances on a host, and an
    instance that is idle for `idle_seconds` is ended; 0 means the host's default. `concurrency` limits the function's
    concurrent runs on a host, 0 for no limit; `queue_seconds` limits the wait for a permit. Logs that are too long for
    the execution's record are stored below `outputs_key`; empty: they are dropped.
    """

    project: str
    function: str
    deployment: str
    execution: str
    epoch: int
    runtime: str
    artefact: Artefact
    entrypoint: str
    environment: dict[str, str]
    environment_digest: str
    limits: Limits
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    logging: bool
    start_seconds: float
    run_seconds: float
    max_instances: int = 0
    idle_seconds: float = 0.0
    concurrency: int = 0
    queue_seconds: float = 30.0
    outputs_key: str = ""


UNANSWERED_STATUS = 500
"""The status code of a run without an answer from a server."""


def reason_of_answer(status_code: int) -> Reason:
    """Return the reason of an answered run: `error` for 500 and above."""
    return "error" if status_code >= 500 else ""


OutputKind = Literal["logs", "errors"]


class CompleteLog(msgspec.Struct, frozen=True, kw_only=True):
    """A log that is too long for the execution's record: a blob, its SHA-256 in hex and its bytes."""

    kind: OutputKind
    key: str
    digest: str
    size: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run: the code's answer, or a typed reason with a sentence in `message`. Times in seconds.

    `status_code` is the code's own, from 100 to 999, or UNANSWERED_STATUS.
    `logs` and `errors` are those of the contract; `whole` are the complete ones if they are longer.
    """

    status_code: int
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    logs: str = ""
    errors: str = ""
    whole: list[CompleteLog] = []
    reason: Reason = ""
    message: str = ""
    cold: bool = False
    instance: str = ""
    host: str = ""
    queue_seconds: float = 0.0
    start_seconds: float = 0.0
    run_seconds: float = 0.0


class Output(msgspec.Struct, frozen=True):
    """The output of a run so far."""

    logs: str = ""
    errors: str = ""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment to build: `source` is its archive, `output_key` the key of the artefact."""

    project: str
    function: str
    deployment: str
    epoch: int
    runtime: str
    source: Artefact
    output_key: str
    entrypoint: str
    commands: str
    output_directory: str
    environment: dict[str, str]
    limits: Limits
    timeout_seconds: float
    output_limit_bytes: int


class BuildOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a build: the `artefact`, or a `reason` with a sentence in `message`."""

    artefact: Artefact | None = None
    reason: BuildReason = ""
    message: str = ""
    exit_code: int = 0
    seconds: float = 0.0


LogSink = Callable[[str], Awaitable[None]]
"""Receives a build's output in pieces while it runs."""


class ExecutorUnavailable(Exception):
    """No executor answered: the work did not start, or its end is unknown."""


class ExecutorUnreachable(ExecutorUnavailable):
    """No executor can be reached: no work was sent, so a retry is safe."""


class Executor(Protocol):
    """Runs and builds code in isolation; safe to call again with a higher epoch."""

    async def execute(self, run: Run) -> Outcome:
        """Run one execution. Failures of user code are outcomes. Raises ExecutorUnavailable."""
        ...

    async def build(self, job: Build, log: LogSink) -> BuildOutcome:
        """Build one deployment, and pass its output to `log` while it runs. Raises ExecutorUnavailable."""
        ...

    async def cancel_build(self, project: str, deployment: str) -> bool:
        """Kill a running build's process tree. True if there was one."""
        ...

    async def cancel_execution(self, project: str, execution: str) -> bool:
        """Kill the instance that runs this execution. True if there was one."""
        ...

    async def output(self, project: str, execution: str) -> Output | None:
        """Return the output of a running execution; None if it does not run. Raises ExecutorUnavailable."""
        ...

    async def retire(self, project: str, deployment: str) -> None:
        """Let a deployment's instances finish their runs, then end them and delete its unpacked code."""
        ...

    async def prewarm(self, run: Run, instances: int, seconds: float) -> int:
        """Keep a number of instances ready for runs such as `run`, for some seconds, without an execution.

        Returns the number that is ready or starts. A repeat extends the time; 0 ends it. Raises ExecutorUnavailable.
        """
        ...
