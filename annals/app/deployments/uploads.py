"""Whole and chunked uploads.

Parts are kept in the blob store and their state in the log, so that any process can take any chunk in any order, also
after a restart.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from annals.app.deployments import queries
from annals.app.deployments.ranges import UploadChunk
from annals.app.edge.call import Call
from annals.app.errors import ContentRangeInvalid, FileTooLarge, FileTooLargeFormerly
from annals.application.deployment_requests import DeploymentOwner
from annals.domain.commands.deployments import create_deployment
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound, DomainError, FunctionNotFound, RateLimited
from annals.domain.ports import Artefact
from annals.store.content.blobs import Blob, BlobMissing, BlobTooLarge
from annals.store.content.contents import UPLOADS, deployment_prefix, source_key
from annals.store.log.log import Recorded
from annals.store.postgres.database import Row

_CONTRADICTION = "Chunks of files of different sizes were sent under this id. Send all chunks of one of them again."


class Upload(msgspec.Struct, kw_only=True):
    """The parameters of a new deployment."""

    function_id: str
    owner: DeploymentOwner
    deployment_id: str
    type: str
    entrypoint: str
    commands: str
    activate: bool

    def recorded_events(self, call: Call, size: int) -> dict[str, Any]:
        """Return the arguments of the commands that create a deployment."""
        return {
            "project_id": call.project_id,
            "function_id": self.function_id,
            "function_incarnation": self.owner.incarnation,
            "deployment_id": self.deployment_id,
            "type": self.type,
            "entrypoint": self.entrypoint,
            "commands": self.commands,
            "activate": self.activate,
            "size": size,
        }


def too_large(call: Call) -> FileTooLarge:
    """Return the error for a file over the limit, with the type of the caller's API version."""
    limit = call.services.settings.upload_limit_bytes
    kind = FileTooLarge if call.api_version.newest else FileTooLargeFormerly
    return kind(f"The file is larger than the {limit} bytes that this instance allows.")


async def create(call: Call, upload: Upload, source: Blob, *, duplicate_of: str = "") -> Row:
    """Create a deployment whose source is stored. Raises FunctionNotFound if the function was deleted meanwhile."""
    try:
        recorded = await call.services.log.run(
            create_deployment,
            Deployment.absent(call.project_id, upload.deployment_id),
            meta=await call.meta(),
            source=_artefact(source),
            duplicated=bool(duplicate_of),
            duplicate_of=duplicate_of,
            **upload.recorded_events(call, source.size),
        )
        return _row(call, recorded)
    except DomainError:
        await call.services.blobs.delete(source.key)
        raise


async def keep_chunk(
    call: Call, function_id: str, deployment_id: str, chunk: UploadChunk, data: AsyncIterator[bytes]
) -> None:
    """Store one part, unless the upload is complete already.

    Raises DeploymentNotFound for an id of another function, and ContentRangeInvalid for a part of another length.
    """
    blobs, row = call.services.blobs, await queries.find_row(call, deployment_id)
    if row is not None and row["function_id"] != function_id:
        raise DeploymentNotFound
    if row is not None and row["source_key"]:
        return
    if row is not None:
        _require_size(row, chunk)
    stored = await blobs.put_part(_parts(call, deployment_id), chunk.number, data, limit=chunk.length + 1)
    if stored.size != chunk.length:
        await blobs.delete(stored.key)
        raise ContentRangeInvalid(f"The chunk has {stored.size} bytes, but its range says {chunk.length}.")
    now = await queries.find_row(call, deployment_id)
    if (now is not None and now["source_key"]) or (row is not None and _life(now) != _life(row)):
        await blobs.delete(stored.key)  # it came too late: it would become a part of the next upload under this id


def _life(row: Row | None) -> int | None:
    """Return the position at which the deployment was created, which tells it from others that had the same id."""
    return None if row is None else row["sequence"]


async def forget_parts(call: Call, *deployment_ids: str) -> None:
    """Delete the parts of uploads that will not be completed, before their ids can be used again."""
    for deployment_id in deployment_ids:
        await call.services.blobs.discard(_parts(call, deployment_id))


async def add_chunk(call: Call, upload: Upload, chunk: UploadChunk) -> Row:
    """Record that a part has arrived, and complete the upload if it was the last missing one.

    Raises RateLimited if other requests keep changing the same upload. Raises FunctionNotFound, and deletes the part,
    if the function was deleted meanwhile.
    """
    try:
        row = await _begin(call, upload, chunk)
        if row["source_key"]:
            return row
        parts = await call.services.blobs.parts(_parts(call, upload.deployment_id))
        if sum(parts.get(number, 0) for number in range(chunk.parts)) != chunk.size:
            return row  # parts are missing, or an earlier part belongs to a file of another size
        return await _complete(call, upload, chunk)
    except Conflict:
        raise RateLimited("Other requests are uploading to this deployment. Try again.", retry_after=5) from None
    except FunctionNotFound:
        await forget_parts(call, upload.deployment_id)
        raise


async def _begin(call: Call, upload: Upload, chunk: UploadChunk) -> Row:
    row = await queries.find_row(call, upload.deployment_id)
    if row is None:
        recorded = await call.services.log.run(
            Deployment.begin,
            Deployment.absent(call.project_id, upload.deployment_id),
            meta=await call.meta(),
            **upload.recorded_events(call, chunk.size),
        )
        if recorded.events:
            return _row(call, recorded)
        row = await queries.find_row(call, upload.deployment_id)
    if row is None or row["function_id"] != upload.function_id:
        raise DeploymentNotFound
    _require_size(row, chunk)
    return row


def _require_size(row: Row, chunk: UploadChunk) -> None:
    if row["upload_size"] != chunk.size:
        raise ContentRangeInvalid(f"This upload began as one of {row['upload_size']} bytes, not {chunk.size}.")


async def _complete(call: Call, upload: Upload, chunk: UploadChunk) -> Row:
    """Join the parts and record the source. Of several concurrent requests one records it, and the others find it
    recorded.

    Raises ContentRangeInvalid if there are earlier chunks of a file of another size.
    """
    blobs, parts = call.services.blobs, _parts(call, upload.deployment_id)
    try:
        source = await blobs.compose(
            parts, range(chunk.parts), source_key(call.project_id, upload.deployment_id), limit=chunk.size
        )
    except BlobMissing:  # another request completed the upload and deleted the parts
        return await _recorded(call, upload)
    except BlobTooLarge:
        raise ContentRangeInvalid(_CONTRADICTION) from None
    try:
        if source.size != chunk.size:
            raise ContentRangeInvalid(_CONTRADICTION)
        recorded = await call.services.log.run(
            Deployment.store_source,
            Deployment.key(call.project_id, upload.deployment_id),
            meta=await call.meta(),
            source=_artefact(source),
        )
    except DomainError:
        await blobs.delete(source.key)
        raise
    if not recorded.events:
        await blobs.delete(source.key)
        return await _recorded(call, upload)
    await blobs.discard(parts)
    return _row(call, recorded)


async def _recorded(call: Call, upload: Upload) -> Row:
    row = await queries.find_row(call, upload.deployment_id)
    if row is None:
        raise DeploymentNotFound
    return row


def _parts(call: Call, deployment_id: str) -> str:
    """Return the prefix of an upload's parts."""
    return deployment_prefix(UPLOADS, call.project_id, deployment_id)


def _row(call: Call, recorded: Recorded) -> Row:
    call.seen(recorded.position)
    rows = recorded.rows.get("deployments")
    if not rows:
        raise FunctionNotFound
    return rows[0]


def _artefact(blob: Blob) -> Artefact:
    return Artefact(key=blob.key, digest=blob.digest, size=blob.size)
