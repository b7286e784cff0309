"""A rule: a host name whose requests run a function."""

from typing import ClassVar

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, DeletionEvent
from annals.domain.errors import RuleAlreadyExists, RuleNotFound


class Rule(Aggregate):
    """A constraint of the read model keeps the domain unique in all projects."""

    TOPIC: ClassVar[str] = "rule"
    MISSING = RuleNotFound
    TAKEN = RuleAlreadyExists

    class Event(AggregateEvent, frozen=True):
        pass

    class Created(CreatedEvent, Event, frozen=True):
        """`domain` is in lower case. `branch` is a Git branch, empty for the active deployment.

        `function_incarnation` is the position of the function's creation, which a later function with its id lacks.
        """

        TOPIC: ClassVar[str] = "rule.created"
        project_id: str
        rule_id: str
        domain: str
        function_id: str
        function_incarnation: int
        branch: str = ""

    class Deleted(DeletionEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "rule.deleted"

    def __init__(
        self, *, project_id: str, rule_id: str, domain: str, function_id: str, function_incarnation: int, branch: str
    ) -> None:
        self.project_id = project_id
        self.rule_id = rule_id
        self.domain = domain
        self.function_id = function_id
        self.function_incarnation = function_incarnation
        self.branch = branch

    def delete(self) -> None:
        self.trigger_event(self.Deleted)
