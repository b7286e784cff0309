"""Lines of `annals events`."""

from datetime import UTC, datetime
from types import SimpleNamespace

from annals.cli.events import as_text
from annals.domain.function import Function
from tests.unit.domain.given import given_function


def test_long_list_of_names_shows_the_first_ones_and_a_count() -> None:
    function = given_function()
    function.collect_events()
    function.trigger_event(
        Function.Updated,
        configuration=function.configuration,
        changed=["name", "runtime", "timeout", "logging"],
        live=False,
    )
    [event] = function.collect_events()

    line = as_text(SimpleNamespace(position=7, recorded_at=datetime(2026, 3, 1, tzinfo=UTC), event=event))  # type: ignore[arg-type]

    assert 'changed="name,runtime,timeout and 1 more"' in line
