"""The wire model of variables."""

from collections.abc import Mapping
from typing import Any

import msgspec

from annals.app.wire import wire_date


class VariableModel(msgspec.Struct, rename="camel", kw_only=True):
    """One variable. The value of a secret variable is always empty."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    key: str
    value: str
    secret: bool
    resource_type: str = "function"
    resource_id: str


def present(row: Mapping[str, Any], value: str) -> VariableModel:
    """Return the model of a row of `variables`, with its opened value if it is not secret."""
    return VariableModel(
        id=row["variable_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        key=row["key"],
        value="" if row["secret"] else value,
        secret=row["secret"],
        resource_id=row["function_id"],
    )
