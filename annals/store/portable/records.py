"""What an export's lines are beside events: JSON objects told apart by `kind`. docs/proof.md describes them.

Bytes are in base64 throughout.
"""

from typing import Any

import msgspec

from annals.domain.decoding import UNREADABLE
from annals.store.portable.lines import LineInvalid

FORM = 1


class ExportRecord(msgspec.Struct, tag_field="kind"):
    """One line."""


class ExportHeader(ExportRecord, tag="export"):
    """The first line. `project` is empty for all of them; the events are those after position `since`."""

    form: int
    origin: str
    key: str
    note: str
    project: str = ""
    since: int = 0
    contents: bool = False
    backup: bool = False


class Skipped(ExportRecord, tag="skipped"):
    """Leaves from `start` to before `end` are not here: `hashes` are the tree's largest nodes over them."""

    start: int
    end: int
    hashes: list[bytes]


class ContentRecord(ExportRecord, tag="content"):
    """A content of an event: its bytes have the digest that the event names."""

    stream: str
    version: int
    name: str
    digest: str
    size: int
    data: bytes


class BlobRecord(ExportRecord, tag="blob"):
    """A source or an artefact begins; pieces follow."""

    key: str
    digest: str


class Piece(ExportRecord, tag="piece"):
    data: bytes


class DataKey(ExportRecord, tag="data_key"):
    """A project's key, wrapped by the instance's master key; in backups alone."""

    project: str
    key_id: str
    wrapped: bytes
    created_at: str


class SignedBefore(ExportRecord, tag="checkpoint"):
    """An earlier checkpoint."""

    note: str


class End(ExportRecord, tag="end"):
    """The last line; what is missing before it was lost."""

    events: int
    contents: int
    blobs: int


AnyRecord = ExportHeader | Skipped | ContentRecord | BlobRecord | Piece | DataKey | SignedBefore | End

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyRecord).decode


def from_record_line(line: bytes) -> Any:
    """Raises LineInvalid."""
    try:
        return _decode(line)
    except UNREADABLE as error:
        raise LineInvalid(str(error)) from error
