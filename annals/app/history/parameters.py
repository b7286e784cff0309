"""Parameter kinds of the feed's filters: the types of events and kinds of resources that this version knows."""

from typing import Any

from annals.app.parameters.kinds import Text, ValidationError
from annals.store.log.mapper import aggregate_classes, event_classes

_LONGEST = 128


class EventType(Text):
    """A type such as `function.updated`, or the part before its dot: that also matches types which are added later."""

    def __init__(self) -> None:
        super().__init__(_LONGEST)

    def parse(self, value: Any) -> str:
        wanted = super().parse(value)
        kind, dot, _ = wanted.partition(".")
        known = event_classes()
        mine = sorted(topic for topic in known if topic.startswith(f"{kind}."))
        if not mine:
            raise ValidationError(
                f"There are no events {wanted}. Known are {_kinds()}, alone or as in function.updated"
            )
        if dot and wanted not in known:
            raise ValidationError(f"There are no events {wanted}. Known of {kind} are {', '.join(mine)}")
        return wanted


class Resource(Text):
    """A kind of resource such as `execution`, or one resource such as `function:hello`."""

    def __init__(self) -> None:
        super().__init__(_LONGEST)

    def parse(self, value: Any) -> str:
        wanted = super().parse(value)
        kind, colon, own_id = wanted.partition(":")
        if kind not in aggregate_classes():
            raise ValidationError(
                f"There is no kind of resource {kind}. Known are {_kinds()}, alone or as in function:hello"
            )
        if colon and not own_id:
            raise ValidationError(f"There is no id behind the colon. Leave the colon out, or write as in {kind}:hello")
        return wanted


def _kinds() -> str:
    return ", ".join(sorted(aggregate_classes()))
