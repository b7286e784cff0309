"""Writes the logs of executions: to files, or as frames to the executor's socket."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import threading
import time
from typing import Any, Protocol

LOGS, ERRORS, END = 0, 1, 2
MAX_CALL = 8000
CUT = f"... Log truncated due to size limit ({MAX_CALL} characters)"
NATIVE_NOTICE = "Native logs detected. Use context.log() or context.error() for better experience."
MAX_STREAM = 5 * 1024 * 1024  # what readers keep at least
MORE = 64 * 1024  # a little over what they keep, so that they see that there was more
PROMPT_WRITES = 32  # a crash must not eat the last lines; only whoever logs more than this is batched
MAX_PENDING = 64 * 1024
BATCH_SECONDS = 0.05  # how stale a live log may be
SAFE_ID = re.compile(r"[0-9A-Za-z_\-][0-9A-Za-z._\-]{0,127}").fullmatch
CHANNEL_PATIENCE_SECONDS = 1.0


class Writer(Protocol):
    """The destination of one execution's log text."""

    def write(self, kind: int, data: bytes) -> None: ...
    def close(self, rest: list[tuple[int, bytes]]) -> None: ...


class FileWriter:
    """The contract's two files per execution."""

    def __init__(self, folder: str, log_id: str) -> None:
        self.files: list[int] = []
        try:
            for name in ("logs", "errors"):
                path = os.path.join(folder, f"{log_id}_{name}.log")
                self.files.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644))
        except OSError:
            self.abandon()

    def write(self, kind: int, data: bytes) -> None:
        if self.files:
            try:
                os.write(self.files[kind], data)
            except OSError:  # a failed log write never fails the request
                self.abandon()

    def close(self, rest: list[tuple[int, bytes]]) -> None:
        for kind, data in rest:
            self.write(kind, data)
        self.abandon()

    def abandon(self) -> None:
        for file in self.files:
            os.close(file)
        self.files = []


class Channel:
    """The executor's log socket, shared by all requests. After the connection is lost, log text is dropped."""

    def __init__(self, path: str) -> None:
        self.lock = threading.Lock()
        self.socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.connect(path)
            self.socket.settimeout(CHANNEL_PATIENCE_SECONDS)
        except OSError:
            self.lose()

    def send(self, data: bytes) -> None:
        with self.lock:
            if self.socket is not None:
                try:
                    self.socket.sendall(data)
                except OSError:  # half a frame may be out: nothing after it could be read
                    self.lose()

    def lose(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class ChannelWriter:
    """Frames of one log id: length of the rest, kind, length of the id, id, text."""

    def __init__(self, channel: Channel, log_id: str) -> None:
        self.channel = channel
        self.id = log_id.encode()

    def frame(self, kind: int, data: bytes) -> bytes:
        return struct.pack(">IBB", 2 + len(self.id) + len(data), kind, len(self.id)) + self.id + data

    def write(self, kind: int, data: bytes) -> None:
        self.channel.send(self.frame(kind, data))

    def close(self, rest: list[tuple[int, bytes]]) -> None:
        frames = [self.frame(kind, data) for kind, data in rest]
        self.channel.send(b"".join([*frames, self.frame(END, b"")]))


class Flusher:
    """Flushes batched text from a separate thread, so that a killed run's last output is sent."""

    def __init__(self) -> None:
        self.due: list[Log] = []
        self.wake = threading.Event()
        self.thread: threading.Thread | None = None

    def add(self, log: Log) -> None:
        self.due.append(log)
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, name="annals-logs", daemon=True)
            self.thread.start()
        self.wake.set()

    def run(self) -> None:
        while self.wake.wait():
            self.wake.clear()
            time.sleep(BATCH_SECONDS)
            while self.due:
                self.due.pop().flush()


class Log:
    """One execution's logs and errors. Written by user code on any thread, closed by the wire."""

    def __init__(self, log_id: str, writer: Writer, flusher: Flusher, most: int = MAX_STREAM) -> None:
        self.id = log_id
        self.writer = writer
        self.flusher = flusher
        self.lock = threading.RLock()  # a signal handler may print in the middle of a print
        self.pending: list[list[str]] = [[], []]
        self.pending_size = 0
        self.batched = False  # whether the flusher will come by
        self.left = [most + MORE, most + MORE]
        self.writes = 0
        self.native_seen = False
        self.native_line = ""
        self.closed = False

    def log(self, *parts: Any) -> None:
        self.line(LOGS, " ".join([as_part(part) for part in parts]))

    def error(self, *parts: Any) -> None:
        self.line(ERRORS, " ".join([as_part(part) for part in parts]))

    def native(self, text: str) -> None:
        """Output that didn't go through the context: whole lines, in order, behind one notice.

        Not kept back until the function ends, so that it is seen live and survives a kill.
        """
        with self.lock:
            head, newline, rest = (self.native_line + text).rpartition("\n")
            self.native_line = rest
            if newline:
                self.native_lines(head)

    def native_lines(self, text: str) -> None:
        if not self.native_seen:
            self.native_seen = True
            self.line(LOGS, NATIVE_NOTICE)
        for line in text.split("\n"):
            self.line(LOGS, line)

    def line(self, kind: int, text: str) -> None:
        if len(text) > MAX_CALL:
            text = text[:MAX_CALL] + CUT
        with self.lock:
            if self.closed or self.left[kind] <= 0:
                return
            self.left[kind] -= len(text) + 1
            self.pending[kind].append(text)
            self.pending_size += len(text) + 1
            if self.writes < PROMPT_WRITES or self.pending_size > MAX_PENDING:
                self.flush()
            elif not self.batched:
                self.batched = True
                self.flusher.add(self)

    def take(self) -> list[tuple[int, bytes]]:
        taken = []
        for kind in (LOGS, ERRORS):
            if self.pending[kind]:
                self.pending[kind].append("")
                taken.append((kind, "\n".join(self.pending[kind]).encode("utf-8", "replace")))
                self.pending[kind] = []
        self.pending_size = 0
        return taken

    def flush(self) -> None:
        with self.lock:
            self.batched = False
            if self.pending_size and not self.closed:
                self.writes += 1
                for kind, data in self.take():
                    self.writer.write(kind, data)

    def close(self) -> None:
        """Write the remaining text; later output is dropped."""
        with self.lock:
            if self.native_line:
                self.native_lines(self.native_line)
            self.closed = True
            self.writer.close(self.take())


class SilentLog(Log):
    """The log of an execution without logging: calls do nothing."""

    def __init__(self) -> None:
        super().__init__("", ChannelWriter(None, ""), Flusher())  # type: ignore[arg-type] - nothing reaches it
        self.closed = True

    def close(self) -> None:
        """Do nothing."""


def as_part(part: Any) -> str:
    """Return one argument of a log call as text; structures as compact JSON."""
    if isinstance(part, str):
        return part
    if isinstance(part, (dict, list, tuple)):
        try:
            return json.dumps(part, separators=(",", ":"), ensure_ascii=False, default=str)
        except (TypeError, ValueError):  # keys that JSON can't have, or a structure that holds itself
            return str(part)
    return str(part)


class Logs:
    """Opens a log for each execution."""

    def __init__(self, target: str, folder: str, most: int) -> None:
        self.folder = folder
        self.most = max(MAX_STREAM, most)
        self.flusher = Flusher()
        self.channel = Channel(target[len("unix:") :]) if target.startswith("unix:") else None

    def open(self, headers: dict[str, str], *, development: bool) -> Log:
        """Return the log that the control headers request; its id is empty if logging is off."""
        if headers.get("x-open-runtimes-logging") not in {None, "", "enabled"}:
            return SilentLog()
        log_id = headers.get("x-open-runtimes-log-id", "")
        if not SAFE_ID(log_id):  # absent, or one that could name a file elsewhere
            log_id = "dev" if development and not log_id else os.urandom(10).hex()
        if self.channel is not None:
            return Log(log_id, ChannelWriter(self.channel, log_id), self.flusher, self.most)
        return Log(log_id, FileWriter(self.folder, log_id), self.flusher)
