"""Deployments of functions, and the status of their builds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "deployments.sql")
UNCHANGED: dict[str, object] = dict.fromkeys(
    (
        "status",
        "source_key",
        "source_digest",
        "source_size",
        "artefact_key",
        "artefact_digest",
        "artefact_size",
        "seconds",
        "worker",
        "epoch",
        "reason",
    )
) | {"logged": False, "moment": ""}


def _upload_started(event: Deployment.UploadStarted) -> list[Statement]:
    params = {
        "stream": event.originator_id,
        "version": event.originator_version,
        "function": Function.stream(event.project_id, event.function_id),
        "function_sequence": event.function_incarnation,
        "deployment_id": event.deployment_id,
        "type": event.type,
        "entrypoint": event.entrypoint,
        "commands": event.commands,
        "activate": event.activate,
        "size": event.size,
        **msgspec.structs.asdict(event.origin),
    }
    return [Statement(QUERIES["upload_started"], params, "deployments")]


def _source_stored(event: Deployment.SourceStored) -> list[Statement]:
    source = event.source
    return _change(event, source_key=source.key, source_digest=source.digest, source_size=source.size)


def _source_fetched(event: Deployment.SourceFetched) -> list[Statement]:
    params = {
        "stream": event.originator_id,
        "version": event.originator_version,
        "source_key": event.source.key,
        "source_digest": event.source.digest,
        "source_size": event.source.size,
        **msgspec.structs.asdict(event.origin),
    }
    return [Statement(QUERIES["source_fetched"], params, "deployments")]


def _build_queued(event: Deployment.BuildQueued) -> list[Statement]:
    return _change(event, status="waiting", worker="", moment="queued")


def _build_claimed(event: Deployment.BuildClaimed) -> list[Statement]:
    return _change(event, status="processing", worker=event.worker, epoch=event.epoch)


def _build_started(event: Deployment.BuildStarted) -> list[Statement]:
    return _change(event, status="building", moment="started")


def _build_succeeded(event: Deployment.BuildSucceeded) -> list[Statement]:
    artefact = event.artefact
    return _change(
        event,
        status="ready",
        artefact_key=artefact.key,
        artefact_digest=artefact.digest,
        artefact_size=artefact.size,
        seconds=event.seconds,
        worker="",
        logged=event.logs_size > 0,
        moment="ended",
    )


def _build_failed(event: Deployment.BuildFailed) -> list[Statement]:
    return _change(
        event,
        status="failed",
        seconds=event.seconds,
        worker="",
        reason=event.reason,
        logged=event.logs_size > 0,
        moment="ended",
    )


def _build_canceled(event: Deployment.BuildCanceled) -> list[Statement]:
    return _change(event, status="canceled", seconds=event.seconds, worker="", reason="canceled", moment="ended")


def _change(event: Any, **changes: object) -> list[Statement]:
    identity = {"stream": event.originator_id, "version": event.originator_version}
    return [Statement(QUERIES["changed"], {**UNCHANGED, **identity, **changes}, "deployments")]


def _restored(event: Deployment.Restored) -> list[Statement]:
    artefact = event.artefact
    return _change(
        event,
        status="ready",
        artefact_key=artefact.key,
        artefact_digest=artefact.digest,
        artefact_size=artefact.size,
    )


def _deleted(event: Deployment.Deleted) -> list[Statement]:
    return [Statement(QUERIES["deleted"], {"stream": event.originator_id, "version": event.originator_version})]


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Deployment.UploadStarted: _upload_started,
    Deployment.SourceStored: _source_stored,
    Deployment.SourceFetched: _source_fetched,
    Deployment.BuildQueued: _build_queued,
    Deployment.BuildClaimed: _build_claimed,
    Deployment.BuildStarted: _build_started,
    Deployment.BuildSucceeded: _build_succeeded,
    Deployment.BuildFailed: _build_failed,
    Deployment.BuildCanceled: _build_canceled,
    Deployment.Restored: _restored,
    Deployment.Deleted: _deleted,
}
