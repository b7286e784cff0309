"""What this process refuses, each with a sentence for the person whose upload or function it was."""


class BadArchive(Exception):
    """An archive that is not unpacked; nothing of it remains on disk."""


class RuntimeUnavailable(Exception):
    """A runtime that this driver cannot serve; the sentence lists those it can."""


class StartFailed(Exception):
    """A function server that did not come up; the sentence carries its last lines."""


class EngineAway(StartFailed):
    """The container engine gives no answer, so that nothing was begun; it may when asked again."""


class BubblewrapUnusable(Exception):
    """The program that the settings name cannot start sandboxes; the sentence says why."""


class WorkFolderTaken(Exception):
    """Another executor lives in the same work folder; a second one would clear it away under the first."""


class ExecutorMissing(Exception):
    """The settings name no executor."""

    def __init__(self) -> None:
        super().__init__(
            "ANNALS_EXECUTOR_URLS names no executor. Set it to unix:/path or tcp:host:port of a running"
            " `annals executor`; `annals up` starts one by itself."
        )


class SandboxLost(Exception):
    """A build's sandbox went away in the middle, through nothing that the build did."""


class NoneFree(Exception):
    """No instance came free within the start budget."""


class Unsuited(Exception):
    """An idle function server that cannot become what was asked for, and is still idle."""
