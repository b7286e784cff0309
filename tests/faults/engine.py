"""A container engine of the tests' own, to be killed and hung: with network, folders and socket of its own."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from annals.executor.drivers.engine import LABEL
from tests.instance import eventually

START_SECONDS = 60
IMAGE = "annals/node:22"


class OwnEngine:
    """A dockerd in a network namespace of its own, where its bridge has the name that the host's has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self._network = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.within = ("nsenter", f"--net=/proc/{self._network.pid}/ns/net")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "docker.pid").unlink(missing_ok=True)
        places = {"data-root": "data", "exec-root": "run", "pidfile": "docker.pid"}
        options = [word for name, place in places.items() for word in (f"--{name}", str(self.folder / place))]
        command = ["dockerd", "--host", self.host, *options, "--bridge", "none", "--shutdown-timeout", "2"]
        with (self.folder / "docker.log").open("ab") as log:
            self._process = subprocess.Popen([*self.within, *command], stdout=log, stderr=log)
        eventually(self._answers, START_SECONDS, explain=self._last_words)

    def take_image(self) -> None:
        """The host's engine has made it."""
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saving:
            self.docker("load", stdin=saving.stdout)
        assert saving.returncode == 0

    def docker(self, *words: str, stdin: object = None) -> list[str]:
        """The lines that a command prints."""
        command = ["docker", "--host", self.host, *words]
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=True, timeout=60)  # type: ignore[call-overload]
        return str(done.stdout).split()

    def containers(self) -> list[str]:
        """The names of the executors' containers, whether they run or not."""
        return self.docker("ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}}")

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It says nothing, and its containers go on."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGTERM)
            self._process.wait(30)
        self._network.kill()
        self._network.wait()
        subprocess.run(["umount", "--recursive", "--lazy", *self._mounts()], check=False)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _mounts(self) -> list[str]:
        words = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
        return [place for place in words if place.startswith(f"{self.folder}/")]

    def _answers(self) -> bool:
        command = ["docker", "--host", self.host, "info"]
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0

    def _last_words(self) -> str:
        return (self.folder / "docker.log").read_text()[-2000:]
