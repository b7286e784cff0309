"""A separate container engine that tests may kill and pause, with its own network, folders and socket."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from annals.executor.drivers.engine import LABEL, NETWORK, connect, label_of
from tests.instance import eventually

if TYPE_CHECKING:
    from docker import DockerClient

START_SECONDS = 60
IMAGE = "annals/node:22"


def missing() -> str:
    """Return the reason why no separate engine can run here, or an empty string."""
    from docker.errors import DockerException

    if not shutil.which("dockerd"):
        return "There is no dockerd."
    try:
        with closing(connect()) as host:
            host.images.get(IMAGE)
    except DockerException as error:
        return f"The host's engine has no image {IMAGE}: {error}"
    return ""


class OwnEngine:
    """A dockerd in its own network namespace, where its bridge may have the same name as the host's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        (folder / "data").mkdir()  # in memory, since a disk is slow to remove the many small files of an image
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(folder / "data")], check=True)
        self._network = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        namespace = f"/proc/{self._network.pid}/ns/net"
        # a dockerd that starts in the host's namespace would remove the host's docker0, because of `--bridge none`
        eventually(lambda: os.readlink(namespace) != os.readlink("/proc/self/ns/net"), START_SECONDS)
        self.within = ("nsenter", f"--net={namespace}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "docker.pid").unlink(missing_ok=True)
        paths = {"data-root": "data", "exec-root": "run", "pidfile": "docker.pid"}
        options = [word for name, path in paths.items() for word in (f"--{name}", str(self.folder / path))]
        command = ["dockerd", "--host", self.host, *options, "--bridge", "none", "--shutdown-timeout", "2"]
        with (self.folder / "docker.log").open("ab") as log:
            self._process = subprocess.Popen([*self.within, *command], stdout=log, stderr=log)
        eventually(self._answers, START_SECONDS, explain=self._end_of_log)

    def copy_image(self) -> None:
        """Copy the image from the host's engine."""
        with closing(connect()) as host, self.client() as own:
            own.images.load(host.images.get(IMAGE).save(named=True))  # type: ignore[arg-type]  # sent on as it comes

    @contextmanager
    def client(self) -> Iterator["DockerClient"]:
        with closing(connect(self.host)) as own:
            yield own

    def containers(self, work: Path | None = None) -> list[str]:
        """Return the names of all executors' containers, or of one executor's; stopped containers count."""
        label = LABEL if work is None else f"{LABEL}={label_of(work)}"
        with self.client() as own:
            found = own.containers.list(all=True, filters={"label": label}, ignore_removed=True)
            return [str(container.name) for container in found]

    def remove_containers(self) -> None:
        """Remove the containers of all executors, as an operator would by hand."""
        with self.client() as own:
            for container in own.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
                container.remove(force=True)

    def remove_network(self) -> None:
        with self.client() as own:
            own.networks.get(NETWORK).remove()

    def has_network(self) -> bool:
        with self.client() as own:
            return bool(own.networks.list(names=[f"^{NETWORK}$"]))

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the engine; its containers keep running."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGTERM)
            self._process.wait(60)
        self._network.kill()
        self._network.wait()
        subprocess.run(["umount", "--recursive", "--lazy", *self._mounts()], check=False)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _mounts(self) -> list[str]:
        words = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
        return [path for path in words if path.startswith(f"{self.folder}/")]

    def _answers(self) -> bool:
        from docker.errors import DockerException

        try:
            with self.client() as own:
                own.info()
        except DockerException:
            return False
        return True

    def _end_of_log(self) -> str:
        return (self.folder / "docker.log").read_text()[-2000:]
