"""The errors of the store; errors that a client causes are in `annals.domain.errors`."""


class StoreError(Exception):
    """The store failed; `default` is the message for a reader."""

    default = "The event store failed."

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.default)


class StoreUnavailable(StoreError):
    """Postgres did not answer in time: assume that nothing was recorded, and try again."""

    default = "The event store is not available right now. Try again shortly."


class StandbyAway(StoreUnavailable):
    """Commits wait for a synchronous standby that does not answer: it is not known whether an append will hold."""

    default = "The database's standby does not answer, and nothing counts as recorded without it. Try again shortly."


class StatementTooSlow(StoreError):
    """Postgres ended a statement that took longer than the limit of this process."""

    default = "The query takes too long. Ask for less: fewer conditions, or a narrower range."


class AnswerLost(StoreUnavailable):
    """The events are recorded, but the connection broke before the rows of the read models came back."""

    default = "The change was recorded, but its answer was lost with the connection. Read the resource again."


class NoFreeSlot(StoreError):
    """The append would start one more call or build than may run now: nothing is recorded."""

    default = "The function runs as many calls at once as its policy allows."


class RequestTooLarge(StoreError):
    """An append exceeds the limits of a batch: nothing was sent."""

    default = "One append holds too many events or too many bytes."


class StreamConflict(StoreError):
    """Another writer appended to the same stream first: load again and decide again."""

    default = "Another writer changed the stream first."


class UnknownTopic(StoreError):
    """A stored event has a topic that no class and no upcast of this program knows."""


class UnreadableEvent(StoreError):
    """The state of a stored event does not fit its class."""


class UrlInvalid(StoreError):
    """The setting of the database's address is invalid; the message does not repeat it."""

    default = (
        "ANNALS_DATABASE_URL is no connection string: write postgresql://user:password@host:5432/database, with commas "
        "between several hosts as in host1:5432,host2:5432, and special characters of the password percent-encoded."
    )


class MigrationError(StoreError):
    """The migration files differ from the applied ones."""


class ContentMissing(StoreError):
    """The content does not exist: it was never stored, or retention dropped it."""

    default = "This content is not there: it was never kept, or its retention has passed."


class ContentDamaged(StoreError):
    """A content's bytes do not have the recorded digest."""


class SealBroken(StoreError):
    """A sealed value was altered, or belongs to another project, owner or name."""

    default = "A sealed value cannot be opened: it was altered, or belongs to something else."


class MasterKeyWrong(StoreError):
    """The master key does not fit this database."""

    default = (
        "The master key does not open this database's data keys. "
        "Start with the master key file that this database was first used with."
    )


class DataKeyDeleted(StoreError):
    """The data key that sealed a value was deleted, as it is with its project: the value is unreadable."""

    default = (
        "The data key that sealed this value was deleted, as it is with its project: the value cannot be read any more."
        " Set it again, or import the instance with its data keys."
    )


class ProjectReplaced(StoreError):
    """The project that a request was authorized for was deleted: nothing is recorded. Authorize the request again."""

    default = "The project was deleted, and perhaps created again, while a request for it was carried out. Try again."


class DataKeyReplaced(ProjectReplaced):
    """A value was sealed by a key that its project no longer has: nothing is recorded. Seal it again."""

    default = "The project was deleted, and perhaps created again, while a value of it was sealed. Try again."


class VariableUnreadable(StoreError):
    """A variable was sealed by a data key that this instance does not have."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The variable {key} cannot be read: its value was sealed by a data key that is not here, as after an"
            " import without keys. Set the variable again, or move the instance with `annals export --with-keys` or"
            " `annals backup`."
        )
