"""Helpers that encode values for answers."""

from typing import Any

import msgspec

from annals.domain.dates import wire_date

__all__ = ["ResourceModel", "encode", "fields_of", "joined", "unset_unless", "wire_date"]

encode = msgspec.json.Encoder().encode


class ResourceModel(msgspec.Struct, rename="camel", kw_only=True):
    """The fields with which the model of every resource begins."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")


def joined(name: str, total: int, rows: list[bytes]) -> bytes:
    """Return the JSON of a list, made from rows that are JSON already."""
    return b'{"total":%d,"%b":[%b]}' % (total, name.encode(), b",".join(rows))


def fields_of(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return a model's wire names by field name."""
    return {field.name: field.encode_name for field in msgspec.structs.fields(struct)}


def unset_unless(shown: bool, value: Any) -> Any:
    """Return the value if this API version shows it. Unset fields are left out of the answer."""
    return value if shown else msgspec.UNSET
