"""Which keys act for a project, found by the digest of their secret."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.project import Project
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "keys.sql")


def _added(event: Project.KeyAdded) -> list[Statement]:
    key = event.key
    params = {
        "stream": event.originator_id,
        "version": event.originator_version,
        "key_id": key.key_id,
        "name": key.name,
        "digest": key.digest,
        "scopes": key.scopes,
        "expires_at": key.expires_at,
    }
    return [Statement(QUERIES["added"], params, "keys")]


def _revoked(event: Project.KeyRevoked) -> list[Statement]:
    return [Statement(QUERIES["revoked"], {"stream": event.originator_id, "key_id": event.key_id})]


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Project.KeyAdded: _added,
    Project.KeyRevoked: _revoked,
}
