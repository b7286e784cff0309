"""What the control plane asks of the outside: the executor's port and its typed answers.

These structs travel as MessagePack between processes of one version; field order is not a storage format.
"""

from collections.abc import Awaitable, Callable
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
"""Why an execution failed (extensions.md); empty when it did not."""

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


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance or build may use: `cpus` in cores, `memory_mb` in MiB."""

    cpus: float
    memory_mb: int


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """A built deployment in the blob store: `key` names it, `digest` is the SHA-256 in hex, `size` in bytes."""

    key: str
    digest: str
    size: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One execution to run.

    `environment_digest` with `deployment` keys the instance. `start_seconds` bounds getting an instance ready,
    `run_seconds` the code. `headers` keep order and repeats. `max_instances` bounds how many instances a host
    starts for it, `idle_seconds` is how long one with nothing to do is kept; 0: as the host has it. `concurrency`
    bounds the function's runs at once on a host, 0 for none; `queue_seconds` is how long a run may wait for its turn.
    `outputs_key` is below which key logs go that are longer than an execution's record holds; empty: nowhere.
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
"""The status code of a run that no server answered."""


def reason_of_answer(status_code: int) -> Reason:
    """Why a run failed that the code answered: of its own accord at 500 and above."""
    return "error" if status_code >= 500 else ""


OutputKind = Literal["logs", "errors"]


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A log that is longer than an execution's record holds: a blob, its SHA-256 in hex and its bytes."""

    kind: OutputKind
    key: str
    digest: str
    size: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: the code's answer, or a typed reason with a sentence in `message`. Times in seconds.

    `status_code` is the code's own from 100 to 999, UNANSWERED_STATUS where no server answered.
    `logs` and `errors` are the contract's, `whole` are those that are longer, as far as the host keeps them.
    """

    status_code: int
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    logs: str = ""
    errors: str = ""
    whole: list[Whole] = []
    reason: Reason = ""
    message: str = ""
    cold: bool = False
    instance: str = ""
    host: str = ""
    queue_seconds: float = 0.0
    start_seconds: float = 0.0
    run_seconds: float = 0.0


class Output(msgspec.Struct, frozen=True):
    """What a run has written so far."""

    logs: str = ""
    errors: str = ""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment to build: `source` is the uploaded archive, `output_key` where the artefact goes."""

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
    """How a build ended: `artefact` when it succeeded, else `reason` and a sentence in `message`."""

    artefact: Artefact | None = None
    reason: BuildReason = ""
    message: str = ""
    exit_code: int = 0
    seconds: float = 0.0


LogSink = Callable[[str], Awaitable[None]]
"""Receives a build's output piece by piece while it runs."""


class ExecutorUnavailable(Exception):
    """No executor answered: the work did not start there, or its end is unknown."""


class ExecutorUnreachable(ExecutorUnavailable):
    """No executor can be reached: nothing of the work was sent, so it is safe to try again."""


class Executor(Protocol):
    """Runs and builds code in isolation; safe to call again with a higher epoch."""

    async def execute(self, run: Run) -> Outcome:
        """Run one execution; never raises for what user code did. Raises ExecutorUnavailable."""
        ...

    async def build(self, job: Build, log: LogSink) -> BuildOutcome:
        """Build one deployment, handing its output to `log` while it runs. Raises ExecutorUnavailable."""
        ...

    async def cancel_build(self, project: str, deployment: str) -> bool:
        """Kill a running build's process tree; true when there was one."""
        ...

    async def cancel_execution(self, project: str, execution: str) -> bool:
        """Kill the instance that runs this execution; true when there was one."""
        ...

    async def output(self, project: str, execution: str) -> Output | None:
        """What a running execution has written so far; None when it does not run. Raises ExecutorUnavailable."""
        ...

    async def retire(self, project: str, deployment: str) -> None:
        """Let a deployment's warm instances finish what they run, then end them, and drop its unpacked code."""
        ...

    async def prewarm(self, run: Run, instances: int, seconds: float) -> int:
        """Have so many instances that could take `run` ready, and keep them for so long; nothing is executed.

        Returns how many are ready or starting. Asking again prolongs; 0 lets go. Raises ExecutorUnavailable.
        """
        ...
