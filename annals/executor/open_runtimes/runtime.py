"""One runtime of another control plane: its specification, its state, and its representation in replies."""

import asyncio
import secrets
import time
from typing import Any

from annals.domain.ports import Run
from annals.executor.open_runtimes.command_sandboxes import CommandSandbox
from annals.executor.open_runtimes.output import RuntimeOutput
from annals.executor.open_runtimes.parameters import RuntimeSpec


class ManagedRuntime:
    """One runtime. Once `making` is done, it has either `run` (a function server) or `sandbox` (for commands)."""

    def __init__(self, name: str, spec: RuntimeSpec) -> None:
        self.name = name
        self.spec = spec
        self.incarnation = secrets.token_hex(16)
        self.created = self.updated = time.time()
        self.output = RuntimeOutput()
        self.run: Run | None = None
        self.sandbox: CommandSandbox | None = None
        self.making: asyncio.Task[dict[str, Any]] | None = None
        self.took = 0.0
        self.deleted = False

    @property
    def ready(self) -> bool:
        return self.making is not None and self.making.done()

    def touch(self) -> None:
        self.updated = time.time()

    def seen(self, host: str, key: str) -> dict[str, Any]:
        """Return the runtime for replies; `key` is its function server's secret, empty while none is up."""
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
