"""Reading an export: all lines are checked by its signature and its digests before any is used."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import zstandard

from annals.store.log.stored_row import LineInvalid, StoredRow, as_leaf, from_line
from annals.store.portable.records import (
    FORM,
    BlobRecord,
    ContentRecord,
    DataKey,
    End,
    ExportHeader,
    Piece,
    SignedBefore,
    Skipped,
    from_record_line,
)
from annals.store.proof.notes import Checkpoint, NoteInvalid, Verifier
from annals.store.tree.merkle import Frontier, LeafRange, cover, leaf_hash

_ZSTD = b"\x28\xb5\x2f\xfd"
_EVENT = b'{"position":'
CANCELED = "deployment.build_canceled"
_LONGEST = 256 * 1024 * 1024
_HEX = re.compile(rb'"([0-9a-f]{64})"')


class ExportInvalid(Exception):
    """An export is incomplete, was changed, or is of the wrong kind; the message says where."""


class Summary(NamedTuple):
    """A verified export; `whole` if no leaf was skipped."""

    header: ExportHeader
    checkpoint: Checkpoint
    events: int
    contents: int
    blobs: int
    last_position: int
    whole: bool
    data_keys: list[DataKey]
    checkpoints: list[str]


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of an export file, compressed or not. Raises ExportInvalid, OSError."""
    with path.open("rb") as file:
        compressed = file.read(4) == _ZSTD
        file.seek(0)
        source: BinaryIO = zstandard.ZstdDecompressor().stream_reader(file) if compressed else file
        rest = b""
        while True:
            try:
                piece = source.read(1 << 20)
            except zstandard.ZstdError as error:
                raise ExportInvalid(f"The file is damaged: {error}. Copy it again.") from error
            if not piece:
                break
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            if len(rest) > _LONGEST:
                raise ExportInvalid("The file has a line that is far too long")
        if rest:
            raise ExportInvalid("The file was cut off: it ends in the middle of a line. Copy it again.")


def records(path: Path) -> Iterator[Any]:
    """Yield events as StoredRow, and other lines as their records. Raises ExportInvalid, OSError."""
    for number, line in enumerate(lines(path), 1):
        try:
            yield from_line(line) if line.startswith(_EVENT) else from_record_line(line)
        except LineInvalid as error:
            raise ExportInvalid(f"Line {number} is none of an export: {error}") from error


def verify(path: Path, verifier: Verifier | None) -> Summary:
    """Check a whole file. Without a verifier its own key is used, which finds accidents but no forgery.

    Raises ExportInvalid, OSError.
    """
    return _Check(verifier).run(records(path))


class _Check:
    def __init__(self, verifier: Verifier | None) -> None:
        self._verifier = verifier
        self._frontier = Frontier()
        self._position = 0
        self._named: set[bytes] = set()
        self._versions: dict[str, int] = {}
        self._events = self._contents = self._blobs = 0
        self._blob: tuple[BlobRecord, Any] | None = None
        self._keys: list[DataKey] = []
        self._notes: list[str] = []
        self._canceled: set[str] = set()
        self._whole, self._since = True, 0

    def run(self, found: Iterator[Any]) -> Summary:
        header = next(found, None)
        if not isinstance(header, ExportHeader):
            raise ExportInvalid("The file does not begin as an export")
        if header.form != FORM:
            raise ExportInvalid(f"The export has form {header.form}, which this version does not know")
        checkpoint, self._since = self._open(header), header.since
        end: End | None = None
        for record in found:
            if end is not None:
                raise ExportInvalid("The file goes on behind its end")
            if isinstance(record, End):
                end = record
            else:
                self._take(record)
        self._end_blob()
        if end is None:
            raise ExportInvalid("The file was cut off")
        if (end.events, end.contents, end.blobs) != (self._events, self._contents, self._blobs):
            raise ExportInvalid("The file does not hold as much as its end says")
        if (self._frontier.size, self._frontier.root()) != (checkpoint.size, checkpoint.root):
            raise ExportInvalid("The events are not those that were signed: one was changed, removed, added or moved")
        return Summary(
            header, checkpoint, self._events, self._contents, self._blobs, self._position, self._whole,
            self._keys, self._notes,
        )  # fmt: skip

    def _open(self, header: ExportHeader) -> Checkpoint:
        try:
            return (self._verifier or Verifier.parse(header.key)).open(header.note)
        except NoteInvalid as error:
            raise ExportInvalid(f"The export's checkpoint does not hold: {error}") from error

    def _take(self, record: Any) -> None:
        if not isinstance(record, Piece):
            self._end_blob()
        match record:
            case StoredRow():
                self._event(record)
            case Skipped():
                self._skip(record)
            case ContentRecord():
                self._contents += 1
                self._content(record)
            case BlobRecord():
                self._blobs += 1
                self._blob = (record, hashlib.sha256())
            case Piece() if self._blob is not None:
                self._blob[1].update(record.data)
            case DataKey():
                self._keys.append(record)
            case SignedBefore():
                self._notes.append(record.note)
            case _:
                raise ExportInvalid(f"A {type(record).__name__.lower()} stands where none can")

    def _event(self, row: StoredRow) -> None:
        if row.position <= self._position:
            raise ExportInvalid(f"Position {row.position} comes behind position {self._position}")
        former = self._versions.get(row.stream, row.version - 1 if self._since else 0)
        if row.version != former + 1:
            raise ExportInvalid(f"Position {row.position} is no continuation of {row.stream}")
        self._position = row.position
        self._versions[row.stream] = row.version
        self._events += 1
        self._named.update(_HEX.findall(row.state))
        if row.topic == CANCELED:
            self._canceled.add(row.stream)
        self._frontier.append(leaf_hash(as_leaf(row)))

    def _skip(self, skipped: Skipped) -> None:
        nodes = list(cover(LeafRange(skipped.start, skipped.end)))
        if skipped.start != self._frontier.size or len(nodes) != len(skipped.hashes):
            raise ExportInvalid(f"What was left out before leaf {skipped.end} does not fit")
        self._whole = False
        for node, root in zip(nodes, skipped.hashes, strict=True):
            self._frontier.append(root, node.level)

    def _content(self, record: ContentRecord) -> None:
        label = f"The {record.name} of {record.stream}"
        named = record.stream not in self._canceled  # a canceled build's log is assembled after its last event
        self._require_digest(hashlib.sha256(record.data), record.digest, label, named=named)

    def _end_blob(self) -> None:
        if self._blob is not None:
            record, found = self._blob
            self._blob = None
            self._require_digest(found, record.digest, f"The archive {record.key}")

    def _require_digest(self, found: Any, digest: str, label: str, *, named: bool = True) -> None:
        if found.hexdigest() != digest:
            raise ExportInvalid(f"{label} does not have its digest")
        if named and digest.encode() not in self._named:
            raise ExportInvalid(f"{label} has a digest that no event of the export names")
