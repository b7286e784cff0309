"""The health models."""

import msgspec


class HealthModel(msgspec.Struct):
    """`ping` in milliseconds, of a write-free question to the database."""

    name: str
    ping: int
    status: str


class VersionModel(msgspec.Struct):
    version: str


class FollowerModel(msgspec.Struct):
    """How many events a follower has yet to see, and a sentence where it stands still, empty while it does not."""

    name: str
    lag: int
    error: str


class ReadyModel(msgspec.Struct):
    """Whether the instance can do its work; `roles` counts the processes that beat."""

    ready: bool
    log_writable: bool = msgspec.field(name="logWritable")
    executor: str = ""
    followers: list[FollowerModel] = []
    roles: dict[str, int] = {}


class LimitsModel(msgspec.Struct, rename="camel"):
    """What this instance allows; bytes, seconds and days as named, 0 for no bound."""

    functions_create_quota: int
    execution_retention_days: int
    upload_limit_bytes: int
    build_timeout_seconds: int
    build_output_limit_bytes: int
    function_timeout_max_seconds: int
    sync_wait_seconds: int
    execution_body_limit_characters: int
    enforcement: dict[str, dict[str, str]]
