"""Removals from a project's read models by age; the events stay in the log."""

from typing import ClassVar, Literal

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent

SweepReason = Literal["age", "function_deleted"]


class Retention(Aggregate):
    """The removals of one project, in one stream."""

    TOPIC: ClassVar[str] = "retention"
    SNAPSHOT_EVERY = 100

    class Event(AggregateEvent, frozen=True):
        pass

    class Began(CreatedEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "retention.began"
        project_id: str

    class ExecutionsSwept(Event, frozen=True):
        """Executions of a function up to a position were removed: ended ones (`age`), or all (`function_deleted`)."""

        TOPIC: ClassVar[str] = "retention.executions_swept"
        function_id: str
        function_incarnation: int
        up_to: int
        reason: SweepReason

    def __init__(self, project_id: str) -> None:
        self.project_id = project_id

    @classmethod
    def of(cls, former: "Retention | None", project_id: str) -> "Retention":
        return former or cls.start(cls.Began, cls.stream(project_id), None, project_id=project_id)

    def sweep_executions(self, function_id: str, incarnation: int, up_to: int, reason: SweepReason) -> None:
        self.trigger_event(
            self.ExecutionsSwept,
            function_id=function_id,
            function_incarnation=incarnation,
            up_to=up_to,
            reason=reason,
        )
