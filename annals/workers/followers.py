"""The followers of a keeper's term: the relay, the triggers, and the read models that follow the log."""

import functools

from annals.application.executions.triggers import Triggers
from annals.application.process import Process
from annals.domain.event_names import wants as triggers_want
from annals.projections.following import FOLLOWING
from annals.store.content.blobs import BlobError
from annals.store.errors import DataKeyReplaced
from annals.store.log.follower import ExternalHandler, Follower
from annals.store.log.reader import EventReader
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.listener import Listener
from annals.workers.broker import JobMessageBroker, QueueUnavailable
from annals.workers.relay import sender
from annals.workers.relay import wants as relay_wants


def followers(process: Process, listener: Listener, tail_cache: TailCache, queue: JobMessageBroker) -> list[Follower]:
    """Return the followers: callers wait for the effects of the first two, the others let events gather."""
    reader = process.log.reader
    follower = functools.partial(Follower, reader=reader, listener=listener, tail_cache=tail_cache)
    return [
        follower(
            "relay", ExternalHandler(sender(queue)), wants=relay_wants, rest_seconds=0.01, transient=(QueueUnavailable,)
        ),
        triggers_follower(Triggers(process.log, process.vault), reader, listener, tail_cache),
        *(
            follower(name, following.handle, wants=following.wants, gather_seconds=following.gather_seconds)
            for name, following in FOLLOWING.items()
        ),
    ]


def triggers_follower(
    triggers: Triggers, reader: EventReader, listener: Listener, tail_cache: TailCache | None = None
) -> Follower:
    """Return the follower of triggers; the store of blobs, which large inputs need, may be away for a while."""
    return Follower(
        "triggers",
        triggers.follow,
        reader,
        listener,
        batch=50,
        rest_seconds=0.01,
        tail_cache=tail_cache,
        wants=triggers_want,
        transient=(BlobError, DataKeyReplaced),
    )
