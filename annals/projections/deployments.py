"""Deployments of functions, and the status of their builds."""

from collections.abc import Mapping
from typing import Any

import msgspec

from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.ports import Artefact
from annals.projections.projectors import Projector, identity, writes
from annals.store.log.request import Statement
from annals.store.postgres import sql
from annals.store.postgres.connection import bound

QUERIES = sql.load(__package__, "deployments.sql")
UNCHANGED: dict[str, object] = {**dict.fromkeys(bound(QUERIES["changed"]).names), "logged": False, "moment": ""}


def _upload_started(event: Deployment.UploadStarted) -> list[Statement]:
    params = {
        **identity(event),
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
    return _change(event, **_stored("source", event.source))


def _source_fetched(event: Deployment.SourceFetched) -> list[Statement]:
    params = {**identity(event), **_stored("source", event.source), **msgspec.structs.asdict(event.origin)}
    return [Statement(QUERIES["source_fetched"], params, "deployments")]


def _build_queued(event: Deployment.BuildQueued) -> list[Statement]:
    return _change(event, status="waiting", worker="", moment="queued")


def _build_claimed(event: Deployment.BuildClaimed) -> list[Statement]:
    return _change(event, status="processing", worker=event.worker, epoch=event.epoch)


def _build_started(event: Deployment.BuildStarted) -> list[Statement]:
    return _change(event, status="building", moment="started")


def _build_succeeded(event: Deployment.BuildSucceeded) -> list[Statement]:
    return _change(
        event,
        status="ready",
        **_stored("artefact", event.artefact),
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
    return [Statement(QUERIES["changed"], {**UNCHANGED, **identity(event), **changes}, "deployments")]


def _restored(event: Deployment.Restored) -> list[Statement]:
    return _change(event, status="ready", **_stored("artefact", event.artefact))


def _stored(name: str, artefact: Artefact) -> dict[str, object]:
    return {f"{name}_key": artefact.key, f"{name}_digest": artefact.digest, f"{name}_size": artefact.size}


PROJECTORS: Mapping[type, Projector] = {
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
    Deployment.Deleted: writes(QUERIES["deleted"]),
}
