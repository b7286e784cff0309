"""The wire models of health."""

import msgspec


class HealthModel(msgspec.Struct):
    """`ping` is the time in milliseconds of a read from the database."""

    name: str
    ping: int
    status: str


class VersionModel(msgspec.Struct):
    version: str


class FollowerModel(msgspec.Struct):
    """The number of events that a follower has yet to read, and a sentence if it has stopped, otherwise an empty
    text."""

    name: str
    lag: int
    error: str


class ReadyModel(msgspec.Struct):
    """Whether the instance can work. `roles` counts the processes whose leases are renewed."""

    ready: bool
    log_writable: bool = msgspec.field(name="logWritable")
    executor: str = ""
    followers: list[FollowerModel] = []
    roles: dict[str, int] = {}


class LimitsModel(msgspec.Struct, rename="camel"):
    """The limits of this instance, in bytes, seconds and days as named. 0 stands for no limit."""

    functions_create_quota: int
    execution_retention_days: int
    upload_limit_bytes: int
    build_timeout_seconds: int
    build_output_limit_bytes: int
    function_timeout_max_seconds: int
    sync_wait_seconds: int
    execution_body_limit_characters: int
    enforcement: dict[str, dict[str, str]]
