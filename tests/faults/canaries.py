"""A secret that the tests plant in an instance, and the search for it in all that the instance stores and shows."""

import base64
import contextlib
import gzip
import os
import secrets
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
import zstandard
from psycopg import sql

from annals.store.log.compact_states import plain_or_altered
from annals.store.log.stored_row import StoredRow
from annals.store.portable.reading import records
from annals.store.portable.records import ContentRecord, Piece
from annals.supervisor.folders import Folders
from tests.client import Client
from tests.instance import AnnalsInstance, annals

CANARY = f"canary{secrets.token_hex(8)}"
"""The secret, which may be readable nowhere; it is unique on this machine."""

KNOWN = f"known{secrets.token_hex(8)}"
"""A public word that is planted beside the secret. A search that does not find it would not find the secret either."""

CARRIED = {"headers": {"authorization": f"Bearer {CANARY}", "cookie": f"a={CANARY}"}}
"""The request headers of every execution; they carry the secret."""

_PIECE = 1 << 20
_ZSTD = zstandard.FRAME_HEADER
_GZIP = b"\x1f\x8b"
_UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)

Source = tuple[str, Iterable[bytes]]
"""The name of a readable source, and its content in pieces."""


def client(instance: AnnalsInstance) -> Client:
    """Return a client whose executions carry the secret."""
    return Client(instance.endpoint, instance.headers, carried=CARRIED)


def plant(instance: AnnalsInstance) -> None:
    """Store the secret as a variable, a password and credentials of a Git host."""
    giver = client(instance)
    giver.call("POST", "/project/variables", json={"key": KNOWN, "value": CANARY, "secret": True})
    giver.call("POST", "/users", json={"userId": KNOWN, "email": f"{KNOWN}@example.test", "password": CANARY})
    host = {"installationId": KNOWN, "provider": "git", "url": "https://git.example.test", "username": "git"}
    giver.call("POST", "/vcs/installations", json={**host, "password": CANARY, "webhookSecret": CANARY})


def check_unreadable(instance: AnnalsInstance, *outside_folders: Path) -> None:
    """Fail if the planted secret is readable anywhere. `outside_folders` are the instance's folders beside its data."""
    found = readable_in(chain(outside_of_tables(instance, *outside_folders), tables(instance)), CANARY, KNOWN)
    assert not found[CANARY], f"the secret is readable in {sorted(found[CANARY])}"
    assert {"table variables", "event project.variable_added"} <= found[KNOWN], "the search misses the public word"


def readable_in(sources: Iterable[Source], *words: str) -> Mapping[str, set[str]]:
    """Return for each word the sources that contain it as plain text, hex or base64."""
    found: dict[str, set[str]] = defaultdict(set)
    forms = {word: _forms(word.encode()) for word in words}
    for source, pieces in sources:
        for word in _words_in(pieces, forms):
            found[word].add(source)
    return found


def outside_of_tables(instance: AnnalsInstance, *outside_folders: Path) -> Iterator[Source]:
    """Yield files, command lines, metrics and the queue."""
    yield from _files(instance.data, instance.log, *outside_folders)
    yield from _command_lines()
    yield "metrics", [httpx.get(instance.endpoint.removesuffix("/v1") + "/metrics", timeout=60).content]
    running = Folders(instance.data).running()
    assert running is not None
    with redis.Redis.from_url(running.settings["ANNALS_REDIS_URL"]) as queue:
        yield from _queued(queue)


def tables(instance: AnnalsInstance) -> Iterator[Source]:
    """Yield every table as text, the statements that Postgres runs, and the state of every event."""
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        names = conn.execute("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'").fetchall()
        for name in [name for (name,) in names if not name.startswith(("pg_", "information_schema."))]:
            yield f"table {name}", _copied(conn, sql.SQL("COPY {} TO STDOUT").format(sql.SQL(name)))
        yield "pg_stat_activity", _copied(conn, sql.SQL("COPY (SELECT query FROM pg_stat_activity) TO STDOUT"))
        for topic, state in conn.execute("SELECT topic, state FROM events"):  # those of executions are compressed
            yield f"event {topic}", [plain_or_altered(state)]


def exported(instance: AnnalsInstance) -> Iterator[Source]:
    """Yield the file of a complete export, and the decoded content of each of its records."""
    file = instance.data.with_name("canaries.export")
    file.unlink(missing_ok=True)
    done = annals("export", "--contents", "--output", str(file), "--json", "--data", str(instance.data))
    assert done.returncode == 0, done.stderr
    yield from _files(file)
    for record in records(file):
        if isinstance(record, StoredRow):
            yield f"exported {record.topic}", [record.state]
        elif isinstance(record, ContentRecord):
            yield f"exported content {record.name}", [record.data]
        elif isinstance(record, Piece):
            yield "exported piece of a blob", [record.data]
    file.unlink()


def _files(*roots: Path) -> Iterator[Source]:
    for root in roots:
        for path in [root] if root.is_file() else root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield str(path), _file(path)


def _file(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, then its decompressed content; stop early if the file is damaged or disappears."""
    with contextlib.suppress(*_UNREADABLE), path.open("rb") as file:
        first = file.read(_PIECE)
        yield first
        while piece := file.read(_PIECE):
            yield piece
        file.seek(0)
        opened: Any = None
        if first.startswith(_GZIP):
            opened = gzip.GzipFile(fileobj=file)
        elif first.startswith(_ZSTD):
            opened = zstandard.ZstdDecompressor().stream_reader(file)
        while opened and (piece := opened.read(_PIECE)):
            yield piece


def _command_lines() -> Iterator[Source]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid():
                yield f"the command line of {process.name}", [(process / "cmdline").read_bytes()]


def _copied(conn: psycopg.Connection[Any], statement: sql.Composed | sql.SQL) -> Iterator[bytes]:
    with conn.cursor().copy(statement) as copy:
        yield from map(bytes, copy)


def _queued(queue: "redis.Redis") -> Iterator[Source]:
    """Yield every key of the queue with its value."""
    read: dict[Any, Any] = {
        b"string": queue.get,
        b"list": lambda key: queue.lrange(key, 0, -1),
        b"hash": lambda key: [part for pair in queue.hgetall(key).items() for part in pair],
        b"set": queue.smembers,
        b"zset": lambda key: queue.zrange(key, 0, -1),
        b"none": lambda _: [],
    }
    for key in queue.scan_iter():
        value = read[queue.type(key)](key)
        yield f"queue {key.decode()}", [key, *([value] if isinstance(value, bytes) else value or ())]


def _forms(wanted: bytes) -> list[bytes]:
    """Return the forms of bytes in a text: plain, in hex, and in base64 at each of the three alignments."""
    forms = [wanted, wanted.hex().encode()]
    for before in range(3):
        whole = (len(wanted) + before) // 3 * 3 - before
        forms.append(base64.b64encode(b"\0" * before + wanted[:whole])[before and 4 :])
    return forms


def _words_in(pieces: Iterable[bytes], forms: Mapping[str, Sequence[bytes]]) -> set[str]:
    """Return the words that the joined pieces contain in one of their forms."""
    found: set[str] = set()
    overlap = max(len(form) for each in forms.values() for form in each)
    tail = b""
    for piece in pieces:
        text = tail + piece
        found |= {word for word, each in forms.items() if word not in found and any(form in text for form in each)}
        tail = text[-overlap:]
    return found
