"""The operations on deployments, and the downloads of their sources and build outputs."""

import asyncio
from datetime import datetime

import structlog
from litestar.response import Stream

from annals.app.as_of.rows import requested_tables
from annals.app.deployments import queries, requests, uploads
from annals.app.deployments.follow import BuildOutput
from annals.app.deployments.ranges import UploadChunk, parse_range
from annals.app.deployments.receive import Reception
from annals.app.edge import operation
from annals.app.edge.answers import Answer, event_answer, no_content, raw_json_answer, stream_answer
from annals.app.edge.call import Call
from annals.app.edge.code_scopes import require_of_function
from annals.app.edge.declared import Creation
from annals.app.edge.event_stream import follow
from annals.app.edge.idempotency import carried_out_once
from annals.app.edge.negotiation import ApiVersion, translate_download, translate_template
from annals.app.functions.routes import ACTIVATE, activate
from annals.app.identity.caller import PUBLIC
from annals.app.identity.scopes import FUNCTIONS_READ, FUNCTIONS_WRITE
from annals.app.parameters import Boolean, OneOf, Parameters, Text, Uid, optional, required
from annals.app.queries.page import list_parameters
from annals.domain.commands.deployments import cancel_build, delete_deployment
from annals.domain.deployment import Deployment
from annals.domain.errors import DeploymentNotFound, UserUnauthorized
from annals.domain.function import Function
from annals.domain.ports import ExecutorUnavailable
from annals.store.content.blobs import BlobMissing
from annals.store.content.contents import source_key
from annals.store.content.digest_checks import RecordedBlob, checked_stream
from annals.store.postgres.database import Row

ONE = Parameters(functionId=required(Uid()), deploymentId=required(Uid()))
LIST = list_parameters(queries.LIST, has_search=True, functionId=required(Uid()))
DUPLICATE = ONE.but(buildId=optional(Uid()))
DOWNLOAD = ONE.but(type=optional(OneOf(("source", "output")), "source"), token=optional(Text(512, 0)))
CREATE_FROM_TEMPLATE = Parameters(
    functionId=required(Uid()),
    repository=required(Text(128, 0)),
    owner=required(Text(128, 0)),
    rootDirectory=required(Text(128, 0)),
    type=required(OneOf(("commit", "branch", "tag"), strict=False)),
    reference=required(Text(128, 0)),
    activate=optional(Boolean(), False),
)
CREATE_FROM_REPOSITORY = Parameters(
    functionId=required(Uid()),
    type=required(OneOf(("branch", "commit"))),
    reference=required(Text(255)),
    activate=optional(Boolean(), False),
)


log = structlog.get_logger(__name__)

CANCEL_SECONDS = 1.0
"""How long the answer to a cancel waits for the executor; its worker stops the build in any case."""


def _may_download(api_version: ApiVersion) -> frozenset[str]:
    return PUBLIC if api_version.newest else FUNCTIONS_READ


class DeploymentController(operation.ResourceController):
    path = "/v1/functions/{functionId:str}/deployments"

    @operation.get(scopes=FUNCTIONS_READ, parameters=LIST, as_of=True)
    async def list_deployments(self, call: Call) -> Answer:
        values, tables = call.values, await requested_tables(call)
        page, searched, counted = values["queries"], values["search"], values["total"]
        return raw_json_answer(
            await queries.read_deployments(call, values["functionId"], page, searched, counted=counted, tables=tables)
        )

    @operation.post(scopes=FUNCTIONS_WRITE, reads_body_itself=True, code_scopes=require_of_function)
    async def create(self, call: Call) -> Answer:
        """Receive an upload. A chunk needs no idempotency key: its number and its deployment's id identify it."""
        upload, content = await Reception(call).receive()
        if isinstance(content, UploadChunk):
            return raw_json_answer(
                await queries.present_row(call, await uploads.add_chunk(call, upload, content)), status=202
            )
        call.values, used = dict(call.path_values), False

        async def record(call: Call) -> Answer:
            nonlocal used
            used, upload.deployment_id = True, call.new_id()
            return raw_json_answer(
                await queries.present_row(call, await uploads.create(call, upload, content)), status=202
            )

        request = [upload.entrypoint, upload.commands, upload.activate, content.digest]
        creation = Creation(self.get, "deploymentId", 202)
        try:
            return await carried_out_once(call, record, creation, request=request, own_id=upload.deployment_id)
        finally:
            if not used:
                await call.services.blobs.delete(content.key)

    @operation.get("/{deploymentId:str}", scopes=FUNCTIONS_READ, parameters=ONE, as_of=True)
    async def get(self, call: Call) -> Answer:
        values, tables = call.values, await requested_tables(call)
        row = await queries.read_row(call, values["functionId"], values["deploymentId"], tables)
        return raw_json_answer(await queries.present_whole(call, row))

    @operation.post(
        "/template",
        scopes=FUNCTIONS_WRITE,
        parameters=CREATE_FROM_TEMPLATE,
        translate=translate_template,
        code_scopes=require_of_function,
        creates=Creation(get, "deploymentId", 202),
    )
    async def create_from_template(self, call: Call) -> Answer:
        return raw_json_answer(await queries.present_row(call, await requests.from_template(call)), status=202)

    @operation.post(
        "/vcs",
        scopes=FUNCTIONS_WRITE,
        parameters=CREATE_FROM_REPOSITORY,
        code_scopes=require_of_function,
        creates=Creation(get, "deploymentId", 202),
    )
    async def create_from_repository(self, call: Call) -> Answer:
        return raw_json_answer(await queries.present_row(call, await requests.from_repository(call)), status=202)

    @operation.patch(
        "/{deploymentId:str}", scopes=FUNCTIONS_WRITE, parameters=ACTIVATE, code_scopes=require_of_function
    )
    async def activate(self, call: Call) -> Answer:
        return await activate(call)

    @operation.delete("/{deploymentId:str}", scopes=FUNCTIONS_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        deployment_id = call.values["deploymentId"]
        recorded = await call.services.log.run(
            delete_deployment,
            Function.key(call.project_id, call.values["functionId"]),
            Deployment.key(call.project_id, deployment_id),
            meta=await call.meta(),
        )
        call.seen(recorded.position)
        await uploads.forget_parts(call, deployment_id)
        return no_content()

    @operation.patch(
        ["/{deploymentId:str}/status", "/{deploymentId:str}/build"], scopes=FUNCTIONS_WRITE, parameters=ONE
    )
    async def cancel(self, call: Call) -> Answer:
        function_id, deployment_id = call.values["functionId"], call.values["deploymentId"]
        row = await queries.read_row(call, function_id, deployment_id)
        recorded = await call.services.log.run(
            cancel_build,
            Deployment.key(call.project_id, deployment_id),
            meta=await call.meta(),
            function_id=function_id,
            seconds=_seconds_since(row["build_started_at"], call.services.now()),
        )
        call.seen(recorded.position)
        if recorded.events:
            await _stop_build(call, deployment_id)
        row = await queries.read_row(call, function_id, deployment_id)
        return raw_json_answer(await queries.present_row(call, row))

    @operation.get(
        ["/{deploymentId:str}/download", "/{deploymentId:str}/build/download"],
        scopes=_may_download,
        parameters=DOWNLOAD,
        translate=translate_download,
    )
    async def get_download(self, call: Call) -> Stream:
        if not (await call.caller()).privileged:
            raise UserUnauthorized
        row = await queries.read_row(call, call.values["functionId"], call.values["deploymentId"])
        return await download(call, row, call.values["type"])

    @operation.get("/{deploymentId:str}/logs", scopes=FUNCTIONS_READ, parameters=ONE)
    async def get_logs(self, call: Call) -> Answer | Stream:
        """Return the build's log as text. Clients that accept an event stream follow it while it grows."""
        row = await queries.read_row(call, call.values["functionId"], call.values["deploymentId"])
        if "text/event-stream" in call.header(b"accept"):
            return event_answer(follow(BuildOutput(call, row)))
        text = await queries.read_log(call, row)
        return Answer(200, text.encode(), [(b"content-type", b"text/plain; charset=utf-8")])

    @operation.post(
        ["/duplicate", "/{deploymentId:str}/build", "/{deploymentId:str}/builds/{buildId:str}"],
        scopes=FUNCTIONS_WRITE,
        parameters=DUPLICATE,
        code_scopes=require_of_function,
        creates=Creation(get, "deploymentId", 202),
    )
    async def duplicate(self, call: Call) -> Answer:
        """Build the same source again, with the function's present settings."""
        function_id = call.values["functionId"]
        owner = await queries.read_owner(call, function_id)
        former = await queries.read_row(call, function_id, call.values["deploymentId"])
        upload = uploads.Upload(
            function_id=function_id,
            owner=owner,
            deployment_id=call.new_id(),
            type=former["type"],
            entrypoint=owner.entrypoint,
            commands=owner.commands,
            activate=call.api_version.newest or former["activate"],
        )
        if not former["source_key"]:
            row = await requests.again(call, former["deployment_id"], owner, activate=upload.activate)
            return raw_json_answer(await queries.present_row(call, row), status=202)
        blobs, key = call.services.blobs, source_key(call.project_id, upload.deployment_id)
        try:
            label = f"The source of {former['stream_id']}"
            source = await blobs.put(
                key, checked_stream(blobs.stream(former["source_key"]), former["source_digest"], label)
            )
        except BlobMissing:
            raise DeploymentNotFound from None
        row = await uploads.create(call, upload, source, duplicate_of=former["deployment_id"])
        return raw_json_answer(await queries.present_row(call, row), status=202)


async def _stop_build(call: Call, deployment_id: str) -> None:
    """Stop the build at once if its executor can be reached. The worker that follows the log stops it in any case."""
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await call.services.executor.cancel_build(call.project_id, deployment_id)
    except (ExecutorUnavailable, TimeoutError) as error:
        log.info("cancel_left_to_worker", deployment=deployment_id, error=str(error))


def _seconds_since(started: datetime | None, now: datetime) -> int:
    return 0 if started is None else max(0, int((now - started).total_seconds()))


async def download(call: Call, row: Row, kind: str) -> Stream:
    """Return a deployment's file. Raises DeploymentNotFound if there is none, RangeInvalid, ContentDamaged."""
    blob = await _find_blob(call, row, kind)
    name, content_type = _file_name_and_type(call, row["deployment_id"], kind, blob.key)
    headers = [
        (b"content-type", content_type),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"cache-control", b"private, max-age=3888000"),
    ]
    range_header = call.header(b"range")
    if not range_header:
        stream = await call.services.checked.span(blob, 0, blob.size)
        return stream_answer(stream, status=200, headers=headers, length=blob.size)
    start, end = parse_range(range_header, blob.size)
    headers += [(b"accept-ranges", b"bytes"), (b"content-range", b"bytes %d-%d/%d" % (start, end, blob.size))]
    stream = await call.services.checked.span(blob, start, end + 1)
    return stream_answer(stream, status=206, headers=headers, length=end + 1 - start)


async def _find_blob(call: Call, row: Row, kind: str) -> RecordedBlob:
    name, size = ("source", "source_size") if kind == "source" else ("artefact", "build_size")
    key = row[f"{name}_key"]
    if not key:
        raise DeploymentNotFound
    try:
        await call.services.blobs.head(key)
    except BlobMissing:
        raise DeploymentNotFound from None
    return RecordedBlob(key, row[f"{name}_digest"], row[size], f"The {name} of {row['stream_id']}")


def _file_name_and_type(call: Call, deployment_id: str, kind: str, key: str) -> tuple[str, bytes]:
    """Return the file name and content type for the caller's API version."""
    if kind == "output" and call.api_version.newest:
        return f"{deployment_id}-output-{key.rpartition('/')[2]}", b"application/octet-stream"
    return f"{deployment_id}-{kind}.tar.gz", b"application/gzip"
