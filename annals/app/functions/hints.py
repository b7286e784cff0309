"""Hints about settings of a function that the contract accepts but that have no effect on this instance."""

from annals.app.edge.call import Call
from annals.app.edge.hints import named
from annals.domain.event_names import is_emitted

_MOST_NAMED = 3


async def hint(call: Call) -> None:
    """Add hints about events that nothing emits and about a runtime that cannot be built."""
    silent = [pattern for pattern in call.values["events"] if not is_emitted(pattern)]
    if silent:
        listed = ", ".join(named(pattern) for pattern in silent[:_MOST_NAMED])
        more = f" and {len(silent) - _MOST_NAMED} more" if len(silent) > _MOST_NAMED else ""
        call.hint(f"Nothing on this instance emits {listed}{more}: only events of users and teams trigger functions.")
    if call.values["runtime"]:
        call.hint(await call.services.available.lack(call.values["runtime"]))
