"""Receives an upload: the file is stored while its form arrives, and validated once the whole form is known."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from multipart import MultipartError, MultipartSegment, parse_options_header

from annals.app.deployments import queries, uploads
from annals.app.deployments.ranges import UploadChunk, parse_chunk, total_of
from annals.app.edge import hints
from annals.app.edge.call import Call
from annals.app.errors import ContentRangeInvalid, FileEmpty, FileInvalid, FileTypeUnsupported
from annals.app.parameters import Boolean, Nullable, Parameters, Text, Uid, ValidationError, optional, required
from annals.app.parameters.body import as_text, body_parameters, fold, push_parser, whole
from annals.application.deployment_requests import DeploymentOwner
from annals.domain.errors import ArgumentInvalid, DomainError, FunctionEntrypointMissing, FunctionNotFound
from annals.store.content.blobs import Blob, BlobTooLarge
from annals.store.content.contents import source_key
from annals.store.ids import generate_id

CREATE = Parameters(
    functionId=required(Uid()),
    entrypoint=optional(Nullable(Text(1028))),
    commands=optional(Nullable(Text(8192, 0))),
    activate=required(Boolean(loose=True)),
)


class Reception:
    """One request to create a deployment. Problems with its file are reported in the contract's order."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._function_id: str = call.path_values["functionId"]
        self._owner: DeploymentOwner | None = None
        self._chunk: UploadChunk | None = None
        self._range_refused: DomainError | None = None
        self._file_refused: DomainError | None = None
        self._name: str | None = None
        self._source: Blob | None = None
        self._deployment_id = generate_id()
        self._limit = call.services.settings.upload_limit_bytes or None

    async def receive(self) -> tuple[uploads.Upload, Blob | UploadChunk]:
        """Return the upload and its stored source or chunk. Raises the first error, and leaves no file behind then."""
        await self._prepare()
        try:
            values = CREATE.parse({**await self._fields(), **self._call.path_values})
            upload = self._judge(values)
        except BaseException:
            if self._source is not None:
                await self._call.services.blobs.delete(self._source.key)
            raise
        if self._chunk is not None:
            return upload, self._chunk
        if self._source is None:
            raise FileEmpty
        return upload, self._source

    async def _prepare(self) -> None:
        """Check everything that can be checked before the body arrives."""
        try:
            Uid().parse(self._function_id)
            self._owner = await queries.read_owner(self._call, self._function_id)
        except (ValidationError, FunctionNotFound):
            self._owner = None
        content_range = self._call.header(b"content-range")
        if not content_range:
            return
        if self._limit and total_of(content_range) > self._limit:
            self._range_refused = uploads.too_large(self._call)
            return
        try:
            self._chunk = parse_chunk(content_range)
        except ContentRangeInvalid as refused:
            self._range_refused = refused
            return
        if chosen := self._call.header(b"x-appwrite-id"):
            try:
                self._deployment_id = Uid().parse(chosen)
            except ValidationError as invalid:
                self._range_refused = ContentRangeInvalid(f"Invalid X-Appwrite-Id header: {invalid}")

    async def _fields(self) -> dict[str, Any]:
        content_type = self._call.header(b"content-type")
        if content_type.lower().startswith("multipart/"):
            return await read_form(content_type, self._call.pieces(), self._keep)
        body = await whole(self._call.pieces(), FIELDS_LIMIT)
        self._call.hint(hints.of_body(content_type, body))
        return body_parameters(content_type, body)

    async def _keep(self, name: str, content: AsyncIterator[bytes]) -> None:
        first = self._name is None
        self._name = name if first else self._name
        acceptable = first and self._owner is not None and self._range_refused is None and _is_gzip(name)
        if acceptable:
            await self._store(content)

    async def _store(self, content: AsyncIterator[bytes]) -> None:
        call = self._call
        try:
            if self._chunk is not None:
                await uploads.keep_chunk(call, self._function_id, self._deployment_id, self._chunk, content)
            else:
                key = source_key(call.project_id, self._deployment_id)
                self._source = await call.services.blobs.put(key, content, limit=self._limit)
        except BlobTooLarge:
            self._file_refused = uploads.too_large(call) if self._chunk is None else ContentRangeInvalid()
        except DomainError as refused:
            self._file_refused = refused

    def _judge(self, values: dict[str, Any]) -> uploads.Upload:
        """Return the upload, or raise the first error in the contract's order (http-api.md 7.13)."""
        owner = self._owner
        if owner is None:
            raise FunctionNotFound
        entrypoint = values["entrypoint"] or owner.entrypoint
        if not entrypoint:
            raise FunctionEntrypointMissing
        if self._name is None:
            raise FileEmpty
        if not _is_gzip(self._name):
            raise FileTypeUnsupported
        if self._range_refused is not None:
            raise self._range_refused
        if self._file_refused is not None:
            raise self._file_refused
        return uploads.Upload(
            function_id=self._function_id,
            owner=owner,
            deployment_id=self._deployment_id,
            type="cli" if self._call.header(b"x-sdk-language").lower() == "cli" else "manual",
            entrypoint=entrypoint,
            commands=owner.commands if values["commands"] is None else values["commands"],
            activate=values["activate"],
        )


def _is_gzip(name: str) -> bool:
    return name.lower().endswith(".gz")


FIELDS_LIMIT = 256 * 1024
"""Most bytes of all fields together."""

MOST_SKIPPED = 64 * 1024 * 1024
"""Most bytes of an unwanted file that are read and dropped, so that the client receives the answer."""

_Events = AsyncIterator["MultipartSegment | bytes | bytearray | None"]
Keep = Callable[[str, AsyncIterator[bytes]], Awaitable[None]]
"""Takes a file's name and content. Bytes that it does not read are skipped."""


async def read_form(content_type: str, pieces: AsyncIterator[bytes], keep: Keep) -> dict[str, Any]:
    """Return the fields of a form. Each part `code` that is a file is handed to `keep` as it arrives.

    Raises FileInvalid if the form ends before its file does, and ArgumentInvalid for too many or too large fields.
    """
    _, options = parse_options_header(content_type)
    fields: list[tuple[str, str | bytes]] = []
    size = 0
    events = _events(options.get("boundary", ""), pieces)
    try:
        async for event in events:
            if not isinstance(event, MultipartSegment):
                continue
            content = _content(events)
            if event.name == "code" and event.filename is not None:
                await keep(event.filename, content)
                await _skip(content)
                continue
            value = bytearray()
            async for piece in content:
                size += len(piece)
                if size > FIELDS_LIMIT:
                    raise ArgumentInvalid(f"The form's fields are larger than {FIELDS_LIMIT} bytes.")
                value += piece
            fields.append((event.name, as_text(bytes(value))))
    except (MultipartError, ValueError) as error:
        raise FileInvalid(f"The form cannot be read: {error}") from error
    return fold(fields)


async def _skip(content: AsyncIterator[bytes]) -> None:
    skipped = 0
    async for piece in content:
        skipped += len(piece)
        if skipped > MOST_SKIPPED:
            raise FileInvalid("The file is not needed, and too large to be skipped.")


async def _events(boundary: str, pieces: AsyncIterator[bytes]) -> _Events:
    parser = push_parser(boundary)
    async for piece in pieces:
        for event in parser.parse(piece):
            yield event
    parser.close()


async def _content(events: _Events) -> AsyncIterator[bytes]:
    """Yield the rest of the part that has just begun."""
    async for event in events:
        if event is None:
            return
        yield bytes(event)
