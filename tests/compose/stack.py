"""The stack of compose.yaml as an operator runs it, on this machine's engine, with its own names, ports, addresses."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from annals.http.listening import listen
from annals.settings import PREFIX
from tests.instance import eventually, plain, short_folder

ROOT = Path(__file__).parents[2]
NO_REGISTRY = ROOT / "deploy" / "compose" / "no-registry.env"
IMAGES = (
    "annals:latest",
    "annals/postgres:18",
    "annals/valkey:9",
    "annals/node:22",
    "annals/python:3.13",
    "annals/static:1",
)
SERVICES = ("postgres", "valkey", "listen", "api", "worker", "keeper", "executor")
"""The services that run all the time."""
UP_SECONDS = 240


def missing() -> str:
    """Return why the stack cannot run here, as a sentence; empty if it can."""
    try:
        done = _docker("compose", "version", check=False)
    except FileNotFoundError:
        return "There is no docker command: install the packages docker-cli and docker-compose."
    if done.returncode:
        return f"There is no docker compose: {done.stderr.strip()}"
    if shutil.which("nft") is None:
        return "There is no nft command: install the package nftables."
    absent = [image for image in IMAGES if _docker("image", "inspect", image, check=False).returncode]
    return f"Images are missing, run `make platform-images`: {', '.join(absent)}" if absent else ""


def _docker(
    *arguments: str, environment: Mapping[str, str] | None = None, check: bool = True, seconds: float = UP_SECONDS
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        cwd=ROOT,
        env=plain(environment or {}),
    )
    assert not check or done.returncode == 0, (
        f"docker {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    )
    return done


class Stack:
    """One project of compose. `endpoint` and `headers` are what a client needs."""

    def __init__(self, folder: Path) -> None:
        number = os.getpid() % 200
        self.project = f"annals-test-{os.getpid()}"
        self.newer = f"annals:test-{os.getpid()}"
        self.gateway = f"10.214.{number}.1"
        port, self.functions_port = _free_ports()
        self.endpoint = f"http://127.0.0.1:{port}/v1"
        self.headers: dict[str, str] = {}
        self.environment = {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_ENV_FILES": str(NO_REGISTRY),
            "ANNALS_STATE": str(folder / "state"),
            "ANNALS_ENV_FILE": str(folder / "annals.env"),
            "ANNALS_PUBLISH": f"127.0.0.1:{port}",
            "ANNALS_PUBLIC_URL": self.endpoint,
            "ANNALS_FUNCTIONS_NETWORK": self.project,
            "ANNALS_FUNCTIONS_BRIDGE": f"antest{number}",
            "ANNALS_FUNCTIONS_SUBNET": f"10.214.{number}.0/24",
            "ANNALS_FUNCTIONS_GATEWAY": self.gateway,
            "ANNALS_FUNCTIONS_PORT": str(self.functions_port),
            "ANNALS_FUNCTIONS_API_URL": f"http://{self.gateway}:{self.functions_port}/v1",
        }
        (folder / "annals.env").write_text(f"{PREFIX}FUNCTIONS_CREATE_QUOTA=0\n{PREFIX}LEASE_S=4\n")

    def take_newer_image(self) -> None:
        """From now on, services of Annals run an image with another name."""
        _docker("tag", IMAGES[0], self.newer)
        self.environment["ANNALS_IMAGE"] = self.newer

    def compose(self, *arguments: str, check: bool = True, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run `docker compose` with the stack's variables."""
        variables = {**self.environment, **environment}
        return _docker("compose", *arguments, environment=variables, check=check, seconds=UP_SECONDS + 60)

    def up(self, *options: str) -> None:
        """Start everything, wait until it is healthy, and read the first key."""
        self.compose("up", "--no-build", "--wait", "--wait-timeout", str(UP_SECONDS), *options)
        values = json.loads(self.compose("exec", "--no-TTY", "api", "annals", "env", "--json").stdout)
        self.headers = {
            "X-Appwrite-Project": values["APPWRITE_PROJECT_ID"],
            "X-Appwrite-Key": values["APPWRITE_API_KEY"],
        }

    def sh(self, commands: str) -> str:
        """Run shell commands of the documentation with the stack's variables; return what they print."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * UP_SECONDS,
            cwd=ROOT,
            env=plain(self.environment),
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        return self.compose("ps", "--quiet", service).stdout.split()

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(_docker("inspect", container).stdout)[0]
        return found

    def kill(self, service: str) -> None:
        """Kill the first process of a service's container, as a crash or the kernel does; the engine starts it again.

        Returns once the service is healthy again. `docker kill` would leave it stopped.
        """
        [container] = self.containers(service)
        state = self.inspect(container)["State"]
        os.kill(state["Pid"], signal.SIGKILL)

        def again() -> bool:
            now = self.inspect(container)["State"]
            return bool(now["StartedAt"] != state["StartedAt"] and now["Health"]["Status"] == "healthy")

        eventually(again, 120, explain=lambda: self.logs(service))

    def logs(self, service: str) -> str:
        return self.compose("logs", "--no-color", "--tail", "40", service, check=False).stdout

    def remove(self) -> None:
        """Remove containers, networks and volumes, and those that the executor made; check that nothing is left."""
        profile = ("--profile", "upgrade")  # its services are no orphans, so that they would stay otherwise
        self.compose(*profile, "down", "--volumes", "--remove-orphans", "--timeout", "20", check=False)
        of_network = ("--filter", f"network={self.project}")
        if functions := _docker("ps", "--all", "--quiet", *of_network, check=False).stdout.split():
            _docker("rm", "--force", *functions, check=False)
        _docker("network", "rm", self.project, check=False)
        _docker("rmi", self.newer, check=False)
        subprocess.run(["nft", "delete", "table", "inet", self.environment["ANNALS_FUNCTIONS_BRIDGE"]], check=False)
        of_project = ("--quiet", "--filter", f"label=com.docker.compose.project={self.project}")
        left = [_docker(kind, "ls", *of_project).stdout for kind in ("container", "network", "volume")]
        assert left == ["", "", ""], left


def _free_ports() -> tuple[int, int]:
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        return first.getsockname()[1], second.getsockname()[1]


@contextmanager
def running() -> Iterator[Stack]:
    """A fresh stack that runs; nothing of it is left afterwards."""
    with short_folder() as folder:
        stack = Stack(folder)
        try:
            stack.up()
            yield stack
        finally:
            stack.remove()
