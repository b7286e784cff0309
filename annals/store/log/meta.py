"""Who and what an event is said to come from."""

import msgspec

from annals.store.log.request import Incarnation


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who and what led to an event: `causation` is the position it reacts to, `correlation` the first request.

    `depth` counts the triggered functions that stand between the first request and this; empty for none.
    `incarnation` is the project that the request was authorized for: the append requires it, and events do not keep it.
    """

    actor: str
    request: str = ""
    causation: str = ""
    correlation: str = ""
    address: str = ""
    depth: str = ""
    incarnation: Incarnation | None = None

    def kept(self) -> dict[str, str]:
        """Return the fields that events keep."""
        fields: dict[str, str] = msgspec.to_builtins(self)
        fields.pop("incarnation", None)
        return fields
