"""Stored logs: read from a row, or from the blob that the row names. A sentence replaces damaged ones."""

import structlog

from annals.app.edge.call import Call
from annals.store.content.blobs import BlobMissing
from annals.store.content.digest_checks import checked
from annals.store.errors import ContentDamaged

log = structlog.get_logger(__name__)


async def read_stored_text(call: Call, data: bytes | None, location: str | None, noun: str) -> str | None:
    """Return the text of a stored content, or None if there is none.

    `location` holds the content's digest and, after a space, the key of its blob. Raises ContentDamaged, which calls
    the content `noun`.
    """
    if location is None:
        return None
    digest, _, blob = location.partition(" ")
    try:
        found = await call.services.blobs.get(blob) if data is None else bytes(data)
    except BlobMissing:
        return ""
    return checked(found, digest, noun).decode("utf-8", "replace")


def damage_sentence(damage: ContentDamaged) -> str:
    """Return the sentence that an answer shows in place of a damaged text, next to everything that is intact."""
    log.error("content_damaged", error=str(damage))
    return f"[ERROR] {damage}"
