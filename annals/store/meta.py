"""Who and what an event is said to come from."""

import msgspec


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who and what led to an event: `causation` is the position it reacts to, `correlation` the first request.

    `depth` counts the triggered functions that stand between the first request and this; empty for none.
    """

    actor: str
    request: str = ""
    causation: str = ""
    correlation: str = ""
    address: str = ""
    depth: str = ""
