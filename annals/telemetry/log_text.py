"""A log entry as text for people: time, process, event, details; coloured on a terminal."""

import json
from collections.abc import Mapping
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
_RESET, _DIM, _BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_LEVEL = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_ROLE = {
    "annals": "\x1b[35m",
    "api": "\x1b[36m",
    "worker": "\x1b[32m",
    "keeper": "\x1b[34m",
    "executor": "\x1b[33m",
}
_WIDTH = 9
_APART = frozenset({"event", "level", "role", "time", "exception", "logger", "pid"})


def as_text(entry: Mapping[str, Any], *, colour: bool) -> str:
    """Render an entry as one line (an exception's trace follows, indented).

    Values of users cannot break out of the line: control characters are escaped.
    """
    level, role = str(entry.get("level", "info")), str(entry.get("role", ""))
    word = f"{level.upper()} " if level in _LEVEL else ""
    event = printable(str(entry.get("event", "")))
    event = event if " " in event else event.replace("_", " ")  # a name becomes words, a sentence stays
    details = " ".join(f"{key}={_value(value)}" for key, value in entry.items() if key not in _APART)
    time, role = _clock(str(entry.get("time", ""))), printable(role)
    if colour:
        paint = _LEVEL.get(level, "")
        time = f"{_DIM}{time}{_RESET}"
        role = f"{_ROLE.get(role.rstrip('0123456789'), '')}{role:<{_WIDTH}}{_RESET}"
        event = f"{paint}{word}{event}{_RESET}" if paint else event
        details = f"{_DIM}{details}{_RESET}" if details else ""
    else:
        role, event = f"{role:<{_WIDTH}}", word + event
    line = f"{time} {role} {event}  {details}".rstrip()
    trace = str(entry.get("exception", ""))
    return "\n".join([line, *(f"    {printable(part)}" for part in trace.splitlines())])


def shown(entry: Mapping[str, Any], least: str) -> bool:
    """Return True if an entry has at least the level `least`, or an unknown level."""
    level = entry.get("level")
    return level not in LEVELS or LEVELS.index(level) >= LEVELS.index(least)


def plain_json(text: str) -> str:
    """Escape control characters in JSON that encoders leave: DEL, and those beyond ASCII."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else r"\u007f" if c == "\x7f" else json.dumps(c)[1:-1] for c in text)


def printable(text: str) -> str:
    """Escape control characters in text, so that it cannot control a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _clock(time: str) -> str:
    """Return the time of day of a timestamp: `12:00:00.123` of `2026-01-31T12:00:00.123456Z`."""
    return printable(time[11:23] if len(time) > 22 else time)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{printable(str(key))}:{_value(item)}" for key, item in value.items())
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    quoted = json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text
    return printable(quoted)
