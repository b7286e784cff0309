"""The recorded log of a build holds what the executor kept, and the worker's closing line."""

import re
from typing import Any, cast

import pytest

from annals.executor.logs.excerpt import KEPT_BYTES, Excerpt
from annals.store.postgres.database import Database
from annals.workers.builds import READY, BuildLogWriter


class Shown:
    """A database that records the pieces of a log that readers see."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    async def execute(self, query: Any, values: dict[str, Any]) -> None:
        if "INSERT INTO build_logs" in str(query):
            self.pieces.append(values["chunk"])


async def begin() -> None:
    return None


@pytest.mark.parametrize("closing", [READY, "A long reason. " * 40])
async def test_recorded_log_keeps_both_ends_and_notes_the_gap_once(closing: str) -> None:
    excerpt, shown = Excerpt(), Shown()
    log = BuildLogWriter(cast(Database, shown), "deployment:p:d", 1, begin)
    await log.write(excerpt.add(b"the beginning\r\n" + (b"x" * 99 + b"\r\n") * 30_000))
    await log.write(excerpt.add(b"the end\r\n") + excerpt.end())
    recorded = (await log.whole(closing)).decode()

    assert recorded.startswith("the beginning\n")
    assert recorded.endswith(f"the end\n{closing.strip()}\n")
    assert len(recorded) <= KEPT_BYTES
    assert len(re.findall("left out|truncated", recorded)) == 1
    assert recorded.removesuffix(f"{closing.strip()}\n") == "".join(shown.pieces)
