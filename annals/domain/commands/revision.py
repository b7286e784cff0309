"""The command behind an update of a function, which names only some of its fields."""

from collections.abc import Mapping
from typing import Any

from annals.domain.base import Aggregate
from annals.domain.function import Function
from annals.domain.revision import revised


def revise_function(function: Function, *, given: Mapping[str, Any]) -> list[Aggregate]:
    """Replace the configuration by what an update makes of the former one; see `revised` for `given`."""
    function.update(revised(function.configuration, given))
    return [function]
