"""Logs as they were recorded, from a row or the blob that it names, or the sentence that stands for a damaged one."""

import structlog

from annals.app.edge.call import Call
from annals.store.content.blobs import BlobMissing
from annals.store.content.checked import checked
from annals.store.errors import ContentDamaged

log = structlog.get_logger(__name__)


async def kept_text(call: Call, data: bytes | None, place: str | None, what: str) -> str | None:
    """The text of a content, whose `place` is its digest and, behind a blank, its blob's key; None where none is kept.

    Raises ContentDamaged; `what` is how it names the content.
    """
    if place is None:
        return None
    digest, _, blob = place.partition(" ")
    try:
        found = await call.services.blobs.get(blob) if data is None else bytes(data)
    except BlobMissing:
        return ""
    return checked(found, digest, what).decode("utf-8", "replace")


def told_damage(damage: ContentDamaged) -> str:
    """What is told in the place of a text, beside all that is whole."""
    log.error("content_damaged", error=str(damage))
    return f"[ERROR] {damage}"
