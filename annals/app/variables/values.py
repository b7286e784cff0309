"""The values of variables as answers show them."""

from collections.abc import Mapping
from typing import Any

from annals.app.edge.call import Call
from annals.store.errors import DataKeyDeleted


async def shown_value(call: Call, project_id: str, owner: str, row: Mapping[str, Any]) -> str:
    """Return the value of a row of `variables`. It is empty for a secret, and in live reads if its data key was
    deleted.

    `owner` is the stream of its function or project. Raises DataKeyDeleted for a past state, SealBroken,
    MasterKeyWrong, StoreUnavailable.
    """
    if row["secret"]:
        return ""
    try:
        return await call.services.vault.open(project_id, owner, row["variable_id"], row["sealed"])
    except DataKeyDeleted:
        if call.asks_as_of:
            raise
        return ""
