"""Servers that accept connections and never answer: commands report them, and end in time."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.instance import annals


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings whose database and queue are such servers."""
    with ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(2)]
        yield {
            "ANNALS_DATA": str(tmp_path),
            "ANNALS_DATABASE_URL": f"postgresql://nobody@127.0.0.1:{ports[0]}/none",
            "ANNALS_REDIS_URL": f"redis://127.0.0.1:{ports[1]}/0",
        }


def answered(command: str, settings: dict[str, str]) -> Any:
    done = annals(command, "--json", environment=settings, seconds=60)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_ps_names_silent_services_and_shows_the_others(hung: dict[str, str]) -> None:
    assert answered("ps", hung) == {"processes": [], "unanswered": ["postgres", "queue"]}


def test_doctor_names_silent_services_with_the_next_step(hung: dict[str, str]) -> None:
    checks = {check["name"]: check for check in answered("doctor", hung)["checks"]}

    for name in ("postgres", "queue"):
        assert not checks[name]["ok"]
        assert "does not answer" in checks[name]["detail"]
        assert "again, where it hangs" in checks[name]["fix"]
