"""One runtime of the façade: what was asked for, what became of it, and how callers see it."""

import asyncio
import secrets
import time
from typing import Any

from annals.domain.ports import Run
from annals.executor.open_runtimes.command_sandboxes import Held
from annals.executor.open_runtimes.output import Record
from annals.executor.open_runtimes.parameters import Spec


class Runtime:
    """Either `run` (a function server, in a pool) or `held` (a sandbox for commands), once `making` is done."""

    def __init__(self, name: str, spec: Spec) -> None:
        self.name, self.spec = name, spec
        self.incarnation = secrets.token_hex(16)
        self.created = self.updated = time.time()
        self.record = Record()
        self.run: Run | None = None
        self.held: Held | None = None
        self.making: asyncio.Task[dict[str, Any]] | None = None
        self.took = 0.0
        self.deleted = False

    @property
    def ready(self) -> bool:
        return self.making is not None and self.making.done()

    def touch(self) -> None:
        self.updated = time.time()

    def seen(self, host: str, key: str) -> dict[str, Any]:
        """As calls answer it; `key` is the secret of its function server, empty while none is up."""
        return {
            "version": self.spec.version,
            "created": self.created,
            "updated": self.updated,
            "name": f"{host}-{self.name}",
            "hostname": self.incarnation,
            "status": f"Up {self.took:.2f}s" if self.ready else "pending",
            "key": key,
            "listening": int(bool(key)),
            "image": self.spec.image,
            "initialised": int(self.ready),
        }
