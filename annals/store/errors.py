"""What the store raises of its own; refusals that a client caused are in `annals.domain.errors`."""


class StoreError(Exception):
    """The store could not do what was asked; `default` says what that means to a reader."""

    default = "The event store failed."

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.default)


class StoreUnavailable(StoreError):
    """Postgres did not answer in time: nothing may be assumed to be recorded. Try again."""

    default = "The event store is not available right now. Try again shortly."


class StandbyAway(StoreUnavailable):
    """Commits wait for a synchronous standby that does not answer: it is not known whether an append will hold."""

    default = "The database's standby does not answer, and nothing counts as recorded without it. Try again shortly."


class StatementTooSlow(StoreError):
    """Postgres ended a statement that took longer than one of this process may."""

    default = "The query takes too long. Ask for less: fewer conditions, or a narrower range."


class AnswerLost(StoreUnavailable):
    """The events are recorded, but the connection broke before the rows of the read models came back."""

    default = "The change was recorded, but its answer was lost with the connection. Read the resource again."


class NoFreeSlot(StoreError):
    """The append would begin one more call, or build, than may run now: nothing of it is recorded."""

    default = "The function runs as many calls at once as its policy allows."


class RequestTooLarge(StoreError):
    """One append is over the bound of a batch; refused before anything was sent."""

    default = "One append holds too many events or too many bytes."


class StreamConflict(StoreError):
    """Another writer appended to the same stream first: load again and decide again."""

    default = "Another writer changed the stream first."


class UnknownTopic(StoreError):
    """A stored event whose topic no class and no upcaster of this program knows."""


class UnreadableEvent(StoreError):
    """A stored event whose state does not fit its class."""


class UrlInvalid(StoreError):
    """What was set as the database's address is none; the message does not repeat it."""

    default = (
        "ANNALS_DATABASE_URL is no connection string: write postgresql://user:password@host:5432/database, with commas "
        "between several hosts as in host1:5432,host2:5432, and special characters of the password percent-encoded."
    )


class MigrationError(StoreError):
    """The migration files and what the database says was applied do not agree."""


class ContentMissing(StoreError):
    """There is no such content: it never was, or retention dropped it."""

    default = "This content is not there: it was never kept, or its retention has passed."


class ContentDamaged(StoreError):
    """A content's bytes do not have the digest that was recorded for them."""


class SealBroken(StoreError):
    """A sealed value that was altered, or belongs to another project, owner or id."""

    default = "A sealed value cannot be opened: it was altered, or belongs to something else."


class MasterKeyWrong(StoreError):
    """The master key does not fit this database."""

    default = (
        "The master key does not open this database's data keys. "
        "Start with the master key file that this database was first used with."
    )


class DataKeyDeleted(StoreError):
    """The data key that sealed a value is gone, as it is once its project was deleted: nobody can read the value."""

    default = (
        "The data key that sealed this value was deleted, as it is with its project: the value cannot be read any more."
        " Set it again, or import the instance with its data keys."
    )


class ProjectReplaced(StoreError):
    """The project that a request was authorized for is gone: nothing is recorded. Authorize the request again."""

    default = "The project was deleted, and perhaps created again, while a request for it was carried out. Try again."


class DataKeyReplaced(ProjectReplaced):
    """A value was sealed by a key that is not its project's any more: nothing is recorded. Seal again and try again."""

    default = "The project was deleted, and perhaps created again, while a value of it was sealed. Try again."


class VariableUnreadable(StoreError):
    """A variable that code needs was sealed by a data key which is not here."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The variable {key} cannot be read: its value was sealed by a data key that is not here, as after an"
            " import without keys. Set the variable again, or move the instance with `annals export --with-keys` or"
            " `annals backup`."
        )
