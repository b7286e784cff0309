"""Structured logs of a process on standard error: one JSON object per line, or text on a terminal.

Lines carry the fields of the current request, which are read when a line is written.
"""

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog

from annals.settings import Settings
from annals.telemetry.log_text import as_text, plain_json

_LOUD = {
    "dramatiq": logging.WARNING,
    "asyncio": logging.WARNING,
    "uvicorn": logging.WARNING,
    "httpx": logging.WARNING,
    "urllib3": logging.WARNING,
}

_CURRENT: "ContextVar[RequestContext | None]" = ContextVar("request", default=None)


class RequestContext:
    """The fields of one request. Empty fields are left out of log lines."""

    __slots__ = ("hint", "position", "project", "request")

    def __init__(self, request: str) -> None:
        self.request, self.project, self.hint, self.position = request, "", "", 0
        _CURRENT.set(self)


def add_request(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that adds the current request's fields to an entry."""
    if (context := _CURRENT.get()) is not None:
        for name in ("request", "project", "hint", "position"):
            if value := getattr(context, name):
                entry.setdefault(name, value)
    return entry


def configure(settings: Settings, role: str) -> None:
    """Send the log of this process, with the lines of libraries, to standard error.

    Entries have `time`, `role`, `level`, `event`, the request's fields (such as its id), and their details.
    """
    terminal = sys.stderr.isatty()
    reading = settings.log_format == "console" or (settings.log_format == "auto" and terminal)
    shared: list[Any] = [
        add_request,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        lambda _logger, _method, entry: {"role": role, **entry},
        structlog.processors.format_exc_info,
    ]

    def written(_logger: object, _method: str, entry: Any) -> str:
        return as_text(entry, colour=terminal) if reading else _json(entry)

    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, written],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=role != "cli",  # tests run commands in their own process
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, written],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    if role == "cli":  # a command that ends early breaks its queries, which is no news for its user
        logging.getLogger("psycopg").setLevel(logging.ERROR)
    for name, least in _LOUD.items():
        logging.getLogger(name).setLevel(max(level, least))


def _json(entry: Any) -> str:
    return plain_json(msgspec.json.encode(entry, enc_hook=str).decode())
