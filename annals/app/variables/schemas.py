"""The variable model."""

from collections.abc import Mapping
from typing import Any

import msgspec

from annals.app.wire import wire_date


class VariableModel(msgspec.Struct, rename="camel", kw_only=True):
    """One variable; the value of a secret one is empty for everybody."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    key: str
    value: str
    secret: bool
    resource_type: str = "function"
    resource_id: str


def present(row: Mapping[str, Any], value: str) -> VariableModel:
    """A row of `variables`, with its opened value where it is no secret."""
    return VariableModel(
        id=row["variable_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        key=row["key"],
        value="" if row["secret"] else value,
        secret=row["secret"],
        resource_id=row["function_id"],
    )
