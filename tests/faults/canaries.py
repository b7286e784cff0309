"""A secret that instances of these tests are given, and the search for it in all that they keep, tell or show."""

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
from annals.store.portable.reading import records
from annals.store.portable.records import ContentRecord, Piece
from annals.store.proof.leaf import StoredRow
from annals.supervisor.folders import Folders
from tests.client import Client
from tests.instance import AnnalsInstance, annals

CANARY = f"canary{secrets.token_hex(8)}"
"""What may be read nowhere; nothing else on the machine has it."""

KNOWN = f"known{secrets.token_hex(8)}"
"""What is given beside it and is no secret: where this is not found, the other would not be either."""

CARRIED = {"headers": {"authorization": f"Bearer {CANARY}", "cookie": f"a={CANARY}"}}
"""What a call is given, to run now or later."""

_PIECE = 1 << 20
_ZSTD = zstandard.FRAME_HEADER
_GZIP = b"\x1f\x8b"
_UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)

Place = tuple[str, Iterable[bytes]]
"""What a place is called, and what can be read there, in pieces."""


def client(instance: AnnalsInstance) -> Client:
    """One whose calls carry the secret."""
    return Client(instance.endpoint, instance.headers, carried=CARRIED)


def plant(instance: AnnalsInstance) -> None:
    """Give it the secret as each kind that there is before the first function."""
    giver = client(instance)
    giver.call("POST", "/project/variables", json={"key": KNOWN, "value": CANARY, "secret": True})
    giver.call("POST", "/users", json={"userId": KNOWN, "email": f"{KNOWN}@example.test", "password": CANARY})
    host = {"installationId": KNOWN, "provider": "git", "url": "https://git.example.test", "username": "git"}
    giver.call("POST", "/vcs/installations", json={**host, "password": CANARY, "webhookSecret": CANARY})


def unseen(instance: AnnalsInstance, *elsewhere: Path) -> None:
    """The secret that was planted is nowhere. `elsewhere` is what the instance keeps beside its data folder."""
    found = where(chain(outside_of_tables(instance, *elsewhere), tables(instance)), CANARY, KNOWN)
    assert not found[CANARY], f"a secret can be read in {sorted(found[CANARY])}"
    assert {"table variables", "event project.variable_added"} <= found[KNOWN], "what is no secret is found like this"


def where(places: Iterable[Place], *words: str) -> Mapping[str, set[str]]:
    """For each word the places where it can be read, as it is, in hex or in base64."""
    found: dict[str, set[str]] = defaultdict(set)
    forms = {word: _forms(word.encode()) for word in words}
    for place, pieces in places:
        for word in _read(pieces, forms):
            found[word].add(place)
    return found


def outside_of_tables(instance: AnnalsInstance, *elsewhere: Path) -> Iterator[Place]:
    """Files, command lines, metrics and the queue."""
    yield from _files(instance.data, instance.log, *elsewhere)
    yield from _command_lines()
    yield "metrics", [httpx.get(instance.endpoint.removesuffix("/v1") + "/metrics", timeout=60).content]
    running = Folders(instance.data).running()
    assert running is not None
    with redis.Redis.from_url(running.settings["ANNALS_REDIS_URL"]) as queue:
        yield from _queued(queue)


def tables(instance: AnnalsInstance) -> Iterator[Place]:
    """Each as text, what the server says that it is doing, and what events say."""
    with psycopg.connect(instance.database_url, autocommit=True) as conn:
        names = conn.execute("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'").fetchall()
        for name in [name for (name,) in names if not name.startswith(("pg_", "information_schema."))]:
            yield f"table {name}", _copied(conn, sql.SQL("COPY {} TO STDOUT").format(sql.SQL(name)))
        yield "pg_stat_activity", _copied(conn, sql.SQL("COPY (SELECT query FROM pg_stat_activity) TO STDOUT"))
        for topic, state in conn.execute("SELECT topic, state FROM events"):  # those of executions are compressed
            yield f"event {topic}", [plain_or_altered(state)]


def exported(instance: AnnalsInstance) -> Iterator[Place]:
    """An export with everything in it: its file, and what each of its lines stands for."""
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


def _files(*roots: Path) -> Iterator[Place]:
    for root in roots:
        for path in [root] if root.is_file() else root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield str(path), _file(path)


def _file(path: Path) -> Iterator[bytes]:
    """A file as it is, and then what is packed in it; what vanishes meanwhile, or is damaged, as far as it goes."""
    with contextlib.suppress(*_UNREADABLE), path.open("rb") as file:
        begin = file.read(_PIECE)
        yield begin
        while piece := file.read(_PIECE):
            yield piece
        file.seek(0)
        opened: Any = None
        if begin.startswith(_GZIP):
            opened = gzip.GzipFile(fileobj=file)
        elif begin.startswith(_ZSTD):
            opened = zstandard.ZstdDecompressor().stream_reader(file)
        while opened and (piece := opened.read(_PIECE)):
            yield piece


def _command_lines() -> Iterator[Place]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid():
                yield f"the command line of {process.name}", [(process / "cmdline").read_bytes()]


def _copied(conn: psycopg.Connection[Any], statement: sql.Composed | sql.SQL) -> Iterator[bytes]:
    with conn.cursor().copy(statement) as copy:
        yield from map(bytes, copy)


def _queued(queue: "redis.Redis") -> Iterator[Place]:
    """Every value, as its kind is read."""
    read: dict[Any, Any] = {
        b"string": queue.get,
        b"list": lambda key: queue.lrange(key, 0, -1),
        b"hash": lambda key: [part for pair in queue.hgetall(key).items() for part in pair],
        b"set": queue.smembers,
        b"zset": lambda key: queue.zrange(key, 0, -1),
        b"none": lambda _: [],
    }
    for key in queue.scan_iter():
        held = read[queue.type(key)](key)
        yield f"queue {key.decode()}", [key, *([held] if isinstance(held, bytes) else held or ())]


def _forms(wanted: bytes) -> list[bytes]:
    """How bytes may stand in a text: as they are, in hex, and in base64 wherever they begin."""
    forms = [wanted, wanted.hex().encode()]
    for before in range(3):
        whole = (len(wanted) + before) // 3 * 3 - before
        forms.append(base64.b64encode(b"\0" * before + wanted[:whole])[before and 4 :])
    return forms


def _read(pieces: Iterable[bytes], forms: Mapping[str, Sequence[bytes]]) -> set[str]:
    """The words of which one of the forms can be read in what the pieces make up."""
    found: set[str] = set()
    overlap = max(len(form) for each in forms.values() for form in each)
    kept = b""
    for piece in pieces:
        text = kept + piece
        found |= {word for word, each in forms.items() if word not in found and any(form in text for form in each)}
        kept = text[-overlap:]
    return found
