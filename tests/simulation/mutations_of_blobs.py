"""Planted bugs between blobs and events: see mutations.py."""

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from annals.app.deployments import uploads
from annals.app.deployments.ranges import UploadChunk
from annals.domain.deployment import Deployment
from annals.domain.errors import DomainError
from annals.domain.ports import Artefact
from annals.store.content.blobs import BlobError
from annals.store.content.contents import source_key
from annals.store.errors import StoreUnavailable
from tests.simulation.blobs import digest
from tests.simulation.mutations import found_by, planted


@found_by("chunks_in_any_order")
def event_before_its_blob() -> AbstractContextManager[object]:
    """A source is recorded before its blob is stored."""

    async def complete(call: Any, upload: uploads.Upload, chunk: UploadChunk) -> Any:
        blobs, parts = call.services.blobs, uploads._parts(call, upload.deployment_id)
        whole = b"".join([await blobs.get(f"{parts}/{number}") for number in range(chunk.parts)])
        blob_key = source_key(call.project_id, upload.deployment_id)
        source = Artefact(key=blob_key, digest=digest(whole), size=len(whole))
        key = Deployment.key(call.project_id, upload.deployment_id)
        recorded = await call.services.log.run(Deployment.store_source, key, meta=await call.meta(), source=source)
        await blobs.put(source.key, whole)
        return uploads._row(call, recorded)

    return mock.patch.object(uploads, "_complete", complete)


@found_by("uploads_meet_a_store_that_fails")
def failed_join_counts_as_done() -> AbstractContextManager[object]:
    """An upload whose parts cannot be joined counts as joined by another process."""
    return mock.patch.object(uploads, "BlobMissing", BlobError)


@planted
def source_removed_when_unsure() -> AbstractContextManager[object]:
    """The source of an unanswered append is deleted, although the append may be committed."""
    return mock.patch.object(uploads, "DomainError", (DomainError, StoreUnavailable))
