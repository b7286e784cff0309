"""The settings that bound what is taken and what runs at once; `settings` is where they are read."""

from typing import Annotated

import msgspec

from annals.domain.catalogue import Specification, allowed_specifications


def says(sentence: str, unit: str = "", *, ge: float | None = None, le: float | None = None) -> msgspec.Meta:
    """Describe a setting: its sentence, its unit and its bounds."""
    return msgspec.Meta(description=sentence, extra={"unit": unit}, ge=ge, le=le)


def wanted(kind: object, meta: msgspec.Meta) -> str:
    """What a value may be, as a person says it; empty where only the type's own word is known."""
    nouns: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false"}
    noun = nouns.get(kind, "")
    if not noun or meta.ge is None:
        return noun
    return f"{noun} of at least {meta.ge}" if meta.le is None else f"{noun} from {meta.ge} to {meta.le}"


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that the operator of an instance sets."""

    functions_create_quota: Annotated[
        int, says("Functions a project may create; 0: no limit, as on `annals up`.", "functions a day", ge=0)
    ] = 50
    client_input_bytes: Annotated[
        int,
        says(
            "Bytes that users and guests of a project may send to asynchronous executions, of inputs beyond 4 KiB; "
            "0: no limit.",
            "bytes a day",
            ge=0,
        ),
    ] = 1024 * 1024 * 1024
    execution_retention_days: Annotated[
        int, says("Executions older than this are removed; 0: never.", "days", ge=0)
    ] = 14
    log_archive_days: Annotated[
        int, says("Sealed events older than this move to the blob store, compressed; 0: never.", "days", ge=0)
    ] = 90
    upload_limit_bytes: Annotated[int, says("Largest source archive; 0: no limit.", "bytes", ge=0)] = 30_000_000
    log_limit_bytes: Annotated[
        int,
        says(
            "Most of an execution's logs, and of its errors, that is kept beyond the 1,000,000 characters of its "
            "record; 0: nothing.",
            "bytes",
            ge=0,
            le=128 * 1024 * 1024,
        ),
    ] = 32 * 1024 * 1024
    build_timeout_s: Annotated[int, says("Longest build.", "seconds", ge=1)] = 900
    build_output_limit_bytes: Annotated[int, says("Largest result of a build.", "bytes", ge=1)] = 2_000_000_000
    start_timeout_s: Annotated[
        int, says("Longest start of an instance; a function's own timeout begins after it.", "seconds", ge=1)
    ] = 30
    function_timeout_max_s: Annotated[int, says("Longest timeout that a function may have.", "seconds", ge=1)] = 900
    sync_wait_s: Annotated[int, says("Longest wait of a synchronous execution.", "seconds", ge=1)] = 30
    database_patience_s: Annotated[
        int,
        says(
            "How long a request waits for a Postgres that is away, as while it is started again; then it gets 503.",
            "seconds",
            ge=1,
            le=60,
        ),
    ] = 5
    specification_max_cpus: Annotated[
        float, says("Specifications with more cores are not offered; 0: no limit.", "cores", ge=0)
    ] = 0.0
    specification_max_memory_mb: Annotated[
        int, says("Specifications with more memory are not offered; 0: no limit.", "MiB", ge=0)
    ] = 0
    idempotency_keys: Annotated[
        int,
        says(
            "Idempotency keys that a project has kept at once, of its API keys and admins, and as many of its users; "
            "0: no limit.",
            "keys of a day",
            ge=0,
        ),
    ] = 100_000
    idempotency_bytes: Annotated[
        int,
        says("Bytes of answers that are kept for these, and for those of users; 0: no limit.", "bytes of a day", ge=0),
    ] = 256 * 1024 * 1024
    idempotency_answer_bytes: Annotated[
        int,
        says("Longest answer that is kept for an idempotency key; of a longer one its id is.", "bytes", ge=0),
    ] = 1024 * 1024
    idempotency_caller_keys: Annotated[
        int,
        says("Idempotency keys that one user, or one address of guests, has kept at once.", "keys of a day", ge=1),
    ] = 100
    idempotency_guest_keys: Annotated[
        int, says("Idempotency keys that all guests of a project have kept at once.", "keys of a day", ge=1)
    ] = 1000
    host_executions: Annotated[
        int, says("Executions that a host runs at once; further ones wait for their turn.", "executions", ge=1)
    ] = 256
    sync_executions: Annotated[
        int,
        says(
            "Synchronous executions that one API process waits for at once; further ones get 503.", "executions", ge=1
        ),
    ] = 1024
    sync_queue: Annotated[
        int,
        says(
            "Synchronous executions that wait for a function whose policy has a concurrency; further ones get 429.",
            "executions an API process",
            ge=0,
        ),
    ] = 100
    project_share: Annotated[
        int,
        says(
            "How much of a host's, a worker's and an API process's executions at once one project may have.",
            "percent",
            ge=1,
            le=100,
        ),
    ] = 75

    def specifications(self) -> dict[str, Specification]:
        """The sizes that this instance offers."""
        return allowed_specifications(
            most_cpus=self.specification_max_cpus, most_memory=self.specification_max_memory_mb
        )

    def share_of(self, most: int) -> int:
        """What of so many one project may have at once."""
        return max(1, most * self.project_share // 100)
