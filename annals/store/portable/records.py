"""The lines of an export besides events: JSON objects with a `kind`, bytes in base64. docs/proof.md describes them."""

from typing import Any

import msgspec

from annals.domain.decoding import UNREADABLE
from annals.store.log.stored_row import LineInvalid

FORM = 1


class ExportRecord(msgspec.Struct, tag_field="kind"):
    """One line."""


class ExportHeader(ExportRecord, tag="export"):
    """The first line. `project` is empty for all projects; the events are those after position `since`."""

    form: int
    origin: str
    key: str
    note: str
    project: str = ""
    since: int = 0
    contents: bool = False
    backup: bool = False


class Skipped(ExportRecord, tag="skipped"):
    """The leaves from `start` to before `end` are left out; `hashes` are the tree's largest nodes over them."""

    start: int
    end: int
    hashes: list[bytes]


class ContentRecord(ExportRecord, tag="content"):
    """A content of an event, whose bytes have the digest that the event records."""

    stream: str
    version: int
    name: str
    digest: str
    size: int
    data: bytes


class BlobRecord(ExportRecord, tag="blob"):
    """The start of a source or an artefact; its pieces follow."""

    key: str
    digest: str


class Piece(ExportRecord, tag="piece"):
    """A piece of the last blob."""

    data: bytes


class DataKey(ExportRecord, tag="data_key"):
    """A project's data key, wrapped by the instance's master key; only in backups."""

    project: str
    key_id: str
    wrapped: bytes
    created_at: str


class SignedBefore(ExportRecord, tag="checkpoint"):
    """An earlier checkpoint."""

    note: str


class End(ExportRecord, tag="end"):
    """The last line, with the numbers of records before it."""

    events: int
    contents: int
    blobs: int


AnyRecord = ExportHeader | Skipped | ContentRecord | BlobRecord | Piece | DataKey | SignedBefore | End

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyRecord).decode


def from_record_line(line: bytes) -> Any:
    """Return the record of a line. Raises LineInvalid."""
    try:
        return _decode(line)
    except UNREADABLE as error:
        raise LineInvalid(str(error)) from error
