"""Errors of the executor. Their messages are sentences for the owner of the function or the upload."""


class BadArchive(Exception):
    """The archive cannot be unpacked; nothing of it remains on disk."""


class RuntimeUnavailable(Exception):
    """This driver cannot serve the runtime; the message lists the runtimes that it serves."""


class StartFailed(Exception):
    """A function server did not start; the message contains its last lines of output."""


class EngineAway(StartFailed):
    """The container engine does not answer, so nothing was started; a later attempt may succeed."""


class ApiUnreachable(Exception):
    """Containers cannot connect to the API's address that functions get; the message says what to change."""


class NetworkUnusable(StartFailed):
    """The network for functions would let them reach each other or the host; the message says what to change."""


class BubblewrapUnusable(Exception):
    """The configured bubblewrap program cannot start sandboxes; the message says why."""


class WorkFolderTaken(Exception):
    """Another executor uses the same work folder; a second one would remove the first one's files."""


class ExecutorMissing(Exception):
    """The settings name no executor."""

    def __init__(self) -> None:
        super().__init__(
            "ANNALS_EXECUTOR_URLS names no executor. Set it to unix:/path or tcp:host:port of a running"
            " `annals executor`; `annals up` starts one by itself."
        )


class SandboxLost(Exception):
    """A build's sandbox disappeared while it ran, for no reason in the build."""


class NoneFree(Exception):
    """No instance became free within the time for a start."""


class Unsuited(Exception):
    """An idle function server cannot be specialised for this deployment, and is still idle."""
