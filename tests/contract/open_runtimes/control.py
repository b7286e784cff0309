"""A control plane that uses only the Open Runtimes API: it puts archives into the shared storage and sends requests."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from annals.executor.config import OpenRuntimesConfig
from annals.executor.open_runtimes.main import OpenRuntimesServer
from annals.executor.service.main import ExecutorProcess
from tests.contract.drivers.hosts import configuration
from tests.unit.executor.archives import gzipped

SECRET = "a-secret-for-tests-only"
UNPACK = "tar -zxf /tmp/code.tar.gz -C /mnt/code && bash helpers/build.sh"
START = 'cp /tmp/code.tar.gz /mnt/code/code.tar.gz && nohup helpers/start.sh "bash helpers/server.sh"'
JSON = dict[str, Any]


class ControlPlane:
    """An executor with the Open Runtimes API in a separate thread, and a client of it."""

    def __init__(self, folder: Path, driver: str, **changes: object) -> None:
        self.storage = folder / "storage"
        open_runtimes = OpenRuntimesConfig(host="127.0.0.1", port=0, secret=SECRET, storage=str(self.storage))
        config = configuration(folder, driver)
        self.config = msgspec.structs.replace(config, idle_pool={}, open_runtimes=open_runtimes, **changes)
        self.http = httpx.Client(headers={"authorization": f"Bearer {SECRET}"}, timeout=150)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="executor")
        self._names = iter(range(1_000_000))
        self._built: dict[tuple[str, str], str] = {}

    def open(self) -> None:
        self._thread.start()
        self._process = self._wait(ExecutorProcess.start(self.config, OpenRuntimesServer))
        assert self._process.open_runtimes is not None
        host, port = self._process.open_runtimes.address
        self.http.base_url = httpx.URL(f"http://{host}:{port}/v1")

    def close(self) -> None:
        self.http.close()
        self._wait(self._process.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(150)

    def name(self) -> str:
        """An id that no runtime has."""
        return f"project-{next(self._names)}"

    def put(self, files: dict[str, bytes], pack: Callable[[dict[str, bytes]], bytes] = gzipped) -> str:
        """Put an archive into the storage; return its path, with the same ending for every format."""
        path = f"/functions/app-1/{self.name()}.tar.gz"
        file = self.storage / path.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pack(files))
        return path

    def create(self, **sent: object) -> httpx.Response:
        return self.http.post("/runtimes", json={"runtimeId": self.name(), **sent})

    def build(self, image: str, files: dict[str, bytes], **sent: object) -> httpx.Response:
        """Build as a control plane does: with a destination, and removed afterwards."""
        asked = {"image": image, "source": self.put(files), "command": f'{UNPACK} ""', "destination": "/builds/app-1"}
        return self.create(**{"remove": True, **asked, **sent})

    def built(self, image: str, entrypoint: str, source: str) -> str:
        """Build a one-file function once; return the path of its artefact."""
        known = (image, source)
        if known not in self._built:
            answer = self.build(image, {entrypoint: source.encode()}, entrypoint=entrypoint)
            assert answer.status_code == 201, answer.text
            self._built[known] = answer.json()["path"]
        return self._built[known]

    def execute(self, name: str, *, accept: str = "application/json", **sent: object) -> httpx.Response:
        return self.http.post(f"/runtimes/{name}/executions", json=sent, headers={"accept": accept})

    def delete(self, name: str) -> int:
        return self.http.delete(f"/runtimes/{name}").status_code

    def left(self) -> list[str]:
        """Return files that builds and instances have left in the work folder."""
        work = self.config.work / "facade"
        return [str(path) for part in ("b", "i") for path in (work / part).iterdir()]


def printed(output: Iterable[JSON]) -> str:
    """The text of a build's output."""
    return "".join(chunk["content"] for chunk in output)
