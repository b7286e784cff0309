"""The live log of an instance: the lines of all its processes on standard error."""

import contextlib
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from annals.settings import Settings
from annals.supervisor.children import Child
from annals.supervisor.lines import json_entry
from annals.telemetry.log_text import as_text, plain_json, shown


class LiveLog:
    """Writes entries as text, coloured on a terminal, or as JSON lines, as the settings say."""

    def __init__(self, settings: Settings, stream: TextIO = sys.stderr) -> None:
        self._stream, self._least = stream, settings.log_level
        self._json = settings.log_format == "json"
        self._colour = stream.isatty()

    def say(self, event: str, level: str = "info", **details: object) -> None:
        """Log a line of the supervisor."""
        self.write({"time": _now(), "role": "annals", "level": level, "event": event, **details})

    def hear(self, child: Child, line: str) -> None:
        """Log a line of a child: a structured entry, or any text."""
        entry = json_entry(line) or {"time": _now(), "level": child.program.level(line), "event": line.rstrip()}
        self.write({**entry, "role": child.name})

    def write(self, entry: Mapping[str, Any]) -> None:
        if not shown(entry, self._least):
            return
        text = plain_json(json.dumps(entry, default=str)) if self._json else as_text(entry, colour=self._colour)
        with contextlib.suppress(OSError):  # the reader is gone; the instance runs on
            self._stream.write(text + "\n")
            self._stream.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
