"""One more API process of a running instance, on its own port."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from annals.http.listening import listen
from annals.supervisor.folders import Folders
from tests.instance import AnnalsInstance, eventually, plain


@contextmanager
def another_api(instance: AnnalsInstance) -> Iterator[str]:
    """Run another API process of an instance, and yield its endpoint."""
    running = Folders(instance.data).running()
    assert running is not None
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    environment = plain({**running.settings, "ANNALS_PORT": str(port)})
    with instance.log.open("a") as log:
        process = subprocess.Popen([sys.executable, "-m", "annals", "api"], env=environment, stdout=log, stderr=log)
    endpoint = f"http://127.0.0.1:{port}/v1"
    try:
        eventually(lambda: _answers(endpoint))
        yield endpoint
    finally:
        process.terminate()
        assert process.wait(60) == 0


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(f"{endpoint}/health/version", timeout=30).is_success
    except httpx.TransportError:
        return False
