"""Check an export of an Annals log, offline: one file, nothing of Annals, `cryptography` as the only dependency.

    python verify_export.py export.ndjson.zst --key 'annals/0123456789abcdef+01234567+AQ...'

Events are hashed into a Merkle tree (RFC 9162), whose root must be the one that the log's key has signed (C2SP signed
note, Ed25519). Without `--key` the export's own key is used, which finds accidents but no forgery: take the key
from another source. Files that end in `.zst` need Python 3.14 or the program `zstd`; `-` reads lines from standard
input. Exit status: 0 when everything holds, 1 when it does not, 2 when the file could not be read.
"""

import argparse
import base64
import contextlib
import hashlib
import importlib
import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

STATE = b',"state":'
HEAD = struct.Struct(">BQQQHHI")
HEX = re.compile(rb'"([0-9a-f]{64})"')
DASH = "\u2014 "


class ExportRejected(Exception):
    """The export is invalid; the message says why."""


class MerkleTree:
    """A growing Merkle tree, as the roots of its complete subtrees, the largest first."""

    def __init__(self) -> None:
        self.size = 0
        self.roots: list[bytes] = []

    def append(self, root: bytes, level: int = 0) -> None:
        before, self.size = self.size >> level, self.size + (1 << level)
        while before & 1:
            root = node(self.roots.pop(), root)
            before >>= 1
        self.roots.append(root)

    def root(self) -> bytes:
        if not self.roots:
            return hashlib.sha256(b"").digest()
        joined = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            joined = node(left, joined)
        return joined


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def levels(start: int, end: int) -> Iterator[int]:
    """Yield the levels of the largest complete subtrees over some leaves."""
    while start < end:
        aligned = (start & -start).bit_length() - 1 if start else end.bit_length()
        level = min(aligned, (end - start).bit_length() - 1)
        yield level
        start += 1 << level


def leaf(line: bytes, event: dict[str, Any]) -> bytes:
    """Return an event's sealed bytes, with the state's bytes unchanged from the line."""
    if "state64" in event:
        state = base64.b64decode(event["state64"], validate=True)
    else:
        state = line[line.index(STATE) + len(STATE) : -1]
    stream, topic = str(event["stream"]).encode(), str(event["topic"]).encode()
    head = HEAD.pack(
        1, event["position"], event["recorded"], event["version"], len(stream), len(topic), len(state)
    )  # fmt: skip
    return head + stream + topic + state


def parsed(line: bytes, otherwise: str) -> dict[str, Any]:
    """Return the object of a line; `otherwise` is the message if the line has none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise ExportRejected(otherwise)
    return record


def open_note(note: str, key: str) -> tuple[int, bytes, str]:
    """Return size, root and text of a checkpoint that this key signed."""
    try:
        name, short, encoded = key.strip().split("+", 2)
        public = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise ExportRejected("the verifier key is none: `annals proof key` prints it") from None
    hashed = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if public[:1] != b"\x01" or hashed.hex() != short:
        raise ExportRejected("the verifier key is none: `annals proof key` prints it")
    text, _, signatures = note.rpartition("\n\n")
    for line in signatures.splitlines():
        signer, _, signature = line.removeprefix(DASH).partition(" ")
        raw = base64.b64decode(signature, validate=True)
        if signer == name and raw[:4] == hashed:
            try:
                Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[4:], f"{text}\n".encode())
            except InvalidSignature:
                raise ExportRejected("the checkpoint's signature does not fit it") from None
            _, size, root, *_ = text.split("\n")
            return int(size), base64.b64decode(root, validate=True), text
    raise ExportRejected(f"the checkpoint is not signed by {name}")


class ExportCheck:
    """Checks one export."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.tree = MerkleTree()
        self.text = ""
        self.position = self.events = self.contents = self.blobs = self.skipped = 0
        self.named: set[str] = set()
        self.canceled: set[str] = set()
        self.blob: tuple[str, str, Any] | None = None

    def run(self, lines: Iterable[bytes]) -> None:
        found = iter(lines)
        header = parsed(next(found, b""), "the file is empty, was cut off, or is no export")
        if header.get("kind") != "export" or header.get("form") != 1:
            raise ExportRejected("this is no export of a form that is known")
        size, root, self.text = open_note(header["note"], self.key or header["key"])
        ended = False
        for line in found:
            if ended:
                raise ExportRejected("the file goes on behind its end")
            record = parsed(line, "a line is none of an export: the file is damaged")
            if "kind" not in record:
                self.event(line, record)
            else:
                ended = self.other(record)
        if not ended:
            raise ExportRejected("the file was cut off")
        if (self.tree.size, self.tree.root()) != (size, root):
            raise ExportRejected("the events are not those that were signed")

    def event(self, line: bytes, event: dict[str, Any]) -> None:
        if event["position"] <= self.position:
            raise ExportRejected(f"position {event['position']} comes behind position {self.position}")
        self.position = event["position"]
        self.events += 1
        data = leaf(line, event)
        self.named.update(digest.decode() for digest in HEX.findall(data))
        if event["topic"] == "deployment.build_canceled":
            self.canceled.add(event["stream"])
        self.tree.append(hashlib.sha256(b"\x00" + data).digest())

    def other(self, record: dict[str, Any]) -> bool:
        """Check a line that is no event, and return whether it is the last one."""
        kind = record["kind"]
        if kind != "piece" and self.blob is not None:
            key, digest, found = self.blob
            self.blob = None
            self.require(found.hexdigest(), digest, f"the archive {key}")
        if kind == "skipped":
            self.skip(record)
        elif kind == "content":
            self.contents += 1
            found = hashlib.sha256(base64.b64decode(record["data"], validate=True)).hexdigest()
            label = f"the {record['name']} of {record['stream']}"
            self.require(found, record["digest"], label, named=record["stream"] not in self.canceled)
        elif kind == "blob":
            self.blobs += 1
            self.blob = (record["key"], record["digest"], hashlib.sha256())
        elif kind == "piece" and self.blob is not None:
            self.blob[2].update(base64.b64decode(record["data"], validate=True))
        elif kind == "end":
            if (record["events"], record["contents"], record["blobs"]) != (self.events, self.contents, self.blobs):
                raise ExportRejected("the file does not hold as much as its end says")
            return True
        elif kind not in {"data_key", "checkpoint"}:
            raise ExportRejected(f"a line of kind {kind!r} stands where none can")
        return False

    def skip(self, record: dict[str, Any]) -> None:
        start, end = record["start"], record["end"]
        depths, hashes = list(levels(start, end)), record["hashes"]
        if start != self.tree.size or len(depths) != len(hashes):
            raise ExportRejected(f"what was left out before leaf {end} does not fit")
        self.skipped += end - start
        for level, root in zip(depths, hashes, strict=True):
            self.tree.append(base64.b64decode(root, validate=True), level)

    def require(self, found: str, digest: str, label: str, *, named: bool = True) -> None:
        if found != digest:
            raise ExportRejected(f"{label} does not have its digest")
        if named and digest not in self.named:
            raise ExportRejected(f"{label} has a digest that no event names")


def lines_of(path: str) -> Iterator[bytes]:
    if path == "-":
        yield from _stripped(sys.stdin.buffer)
    elif not path.endswith(".zst"):
        with Path(path).open("rb") as file:
            yield from _stripped(file)
    else:
        with _decompressed(path) as file:
            yield from _stripped(file)


@contextlib.contextmanager
def _decompressed(path: str) -> Iterator[Any]:
    """Open a compressed file by Python 3.14, by the package `zstandard` or by the program `zstd`."""
    for module in ("compression.zstd", "zstandard"):
        try:
            opened = importlib.import_module(module).open(path, "rb")
        except ImportError:
            continue
        with opened as file:
            yield file
        return
    program = shutil.which("zstd")
    if program is None:
        raise OSError("no program `zstd` was found: decompress the file elsewhere first")
    with subprocess.Popen([program, "-dcq", "--", path], stdout=subprocess.PIPE) as process:
        yield process.stdout
    if process.returncode:
        raise ExportRejected("the file is damaged")


def _stripped(file: Any) -> Iterator[bytes]:
    """Yield lines of a file that is read in pieces: not every decompressor yields lines."""
    rest = b""
    while piece := file.read(1 << 20):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        raise ExportRejected("the file ends in the middle of a line")


def main() -> int:
    parser = argparse.ArgumentParser(description="ExportCheck an export of an Annals log, offline.")
    parser.add_argument("export", help="the file, or - for standard input")
    parser.add_argument("--key", default="", help="verifier key of the log, from another source than the export")
    given = parser.parse_args()
    check = ExportCheck(given.key)
    try:
        check.run(lines_of(given.export))
    except OSError as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # a forged file may fail in any way
        print(f"INVALID behind position {check.position}: {error}", file=sys.stderr)
        return 1
    print(f"{check.text}\nevents {check.events}, left out {check.skipped}, contents {check.contents}, "
          f"archives {check.blobs}")  # fmt: skip
    complete = "every event of the log" if not check.skipped else "events of the log, each one as it was sealed"
    print(f"OK: {complete}, up to position {check.position}" + ("" if given.key else " (by the export's own key)"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
