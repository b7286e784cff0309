"""The wire models of events: the actor, the resource, the cause and the changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from annals.app.wire import wire_date
from annals.domain import redaction
from annals.store.log.reader import RecordedEvent


class CredentialModel(msgspec.Struct, frozen=True):
    """How an ephemeral key was made: `ephemeral`, or for an `execution`, or for the build of a `deployment`."""

    type: str
    id: str


class ActorModel(msgspec.Struct, frozen=True):
    """`type` is key, user, admin, function, cli, worker, schedule … or guest. `name` is the actor's own name.

    `credential` is set for requests with an ephemeral key, whose parent is the actor.
    """

    type: str
    id: str = ""
    name: str = ""
    credential: CredentialModel | UnsetType = UNSET


class ChangeModel(msgspec.Struct, frozen=True, rename={"former": "from", "latter": "to"}):
    """A field that an event changed; null stands for no value. Secrets are shown as fingerprints."""

    field: str
    former: Any
    latter: Any


class EventModel(msgspec.Struct, rename="camel", kw_only=True):
    """One event. `causation` is the position of the event that caused it, `correlation` the id of the first request.

    `position` is null for an event that was not recorded.
    """

    id: str | UnsetType = msgspec.field(name="$id", default=UNSET)
    created_at: str | UnsetType = msgspec.field(name="$createdAt", default=UNSET)
    position: int | None
    type: str
    project_id: str
    resource_type: str
    resource_id: str
    version: int
    actor: ActorModel
    request_id: str
    causation: int | None
    correlation: str
    address: str
    data: dict[str, Any]
    changes: Sequence[ChangeModel] | UnsetType = UNSET


class NodeModel(msgspec.Struct):
    """An event of a tree, with the events that it caused."""

    event: EventModel
    caused: list["NodeModel"]


class TreeModel(msgspec.Struct, rename="camel"):
    """The events that a request caused. `truncated` is set if there are more than a tree holds."""

    correlation: str
    total: int
    truncated: bool
    events: list[NodeModel]


def actor(text: str, names: Mapping[str, str]) -> ActorModel:
    """Return the actor of a metadata text such as `key:<id>`, or `key:<id>/ephemeral:<id>` for an ephemeral key."""
    parent, _, child = text.partition("/")
    kind, _, own_id = parent.partition(":")
    credential = CredentialModel(child.partition(":")[0], child.partition(":")[2]) if child else UNSET
    return ActorModel(kind, own_id, names.get(parent, ""), credential)


def present(
    recorded_event: RecordedEvent, names: Mapping[str, str], changes: Sequence[ChangeModel] | None = None
) -> EventModel:
    """Return the model of a recorded event, with `changes` if they are requested."""
    shown = unrecorded(recorded_event.event, names, changes)
    shown.id, shown.position = str(recorded_event.position), recorded_event.position
    shown.created_at = wire_date(recorded_event.recorded_at)
    return shown


def unrecorded(event: Any, names: Mapping[str, str], changes: Sequence[ChangeModel] | None = None) -> EventModel:
    """Return the model of an event without a position in the log."""
    metadata: Mapping[str, str] = event.metadata
    kind, _, rest = event.originator_id.partition(":")
    return EventModel(
        position=None,
        type=type(event).TOPIC,
        project_id=rest.partition(":")[0],
        resource_type=kind,
        resource_id=rest.rpartition(":")[2],
        version=event.originator_version,
        actor=actor(metadata.get("actor", ""), names),
        request_id=metadata.get("request", ""),
        causation=int(metadata["causation"]) if metadata.get("causation") else None,
        correlation=metadata.get("correlation", ""),
        address=metadata.get("address", ""),
        data=redaction.event_fields(event),
        changes=UNSET if changes is None else changes,
    )
