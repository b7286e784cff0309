"""The stack of compose.yaml works as shipped, keeps what it was given, and loses no request in an upgrade."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.architecture.pages import commands
from tests.client import Client
from tests.compose.stack import SERVICES, Stack
from tests.faults.steady_load import Load
from tests.instance import eventually

pytestmark = [pytest.mark.timeout(420), pytest.mark.docker]

START, DOCTOR, SCALE, UPGRADE = commands("docs/deployment.md")
HELLO = "module.exports = async ({ res }) => res.text('hello')"
LOOK_AROUND = """
import json, os, socket, urllib.request


def reaches(host, port):
    try:
        with socket.create_connection((host, int(port)), 5) as connection:
            return connection.recv(16).decode() or "nothing"
    except OSError as error:
        return type(error).__name__


def main(context):
    asked = json.loads(context.req.body_text)
    with urllib.request.urlopen(os.environ["APPWRITE_FUNCTION_API_ENDPOINT"] + "/health/version", timeout=20) as answer:
        version = json.load(answer)["version"]
    return context.res.json({"version": version, "reached": [reaches(*target) for target in asked]})
"""


@contextmanager
def greeting() -> Iterator[int]:
    """A service of the host on all its addresses; its port."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 that is the case

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"GREETED")

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def roles(stack: Stack) -> dict[str, int]:
    answer = httpx.get(f"{stack.endpoint}/health/ready", timeout=30)
    found: dict[str, int] = answer.json()["roles"]
    return found


@pytest.fixture(scope="session")
def hello(client: Client) -> str:
    return client.function("hello", HELLO)


def test_commands_of_the_page_start_the_stack_and_find_it(stack: Stack) -> None:
    assert '"functions":' in stack.sh(START)


def test_first_execution_of_a_node_function_succeeds(client: Client, hello: str) -> None:
    assert client.execute(hello)["responseBody"] == "hello"


def test_static_site_is_served(client: Client, stack: Stack) -> None:
    made = {"functionId": "site", "name": "site", "runtime": "static-1", "entrypoint": "index.html", "execute": ["any"]}
    client.call("POST", "/functions", json=made)
    client.ready("site", client.deploy("site", {"index.html": "<h1>site</h1>"}))

    assert client.execute("site", path="/", method="GET")["responseBody"] == "<h1>site</h1>"


def test_function_reaches_the_api_and_neither_the_host_nor_metadata(client: Client, stack: Stack) -> None:
    client.function("around", LOOK_AROUND, runtime="python-3.13")
    with greeting() as port:
        with socket.create_connection((stack.gateway, port), 10) as connection:
            assert connection.recv(16) == b"GREETED"  # the host itself reaches it at that address
        targets = [[stack.gateway, port], ["169.254.169.254", 80], ["postgres", 5432], ["valkey", 6379]]
        ended = client.execute("around", body=json.dumps(targets), method="POST")

    found = json.loads(ended["responseBody"])
    assert found["version"]
    assert found["reached"] == ["ConnectionRefusedError", "ConnectionRefusedError", "gaierror", "gaierror"]


def test_doctor_shows_that_functions_reach_the_api_and_not_the_host(stack: Stack) -> None:
    assert "host and cloud metadata are closed" in stack.sh(DOCTOR)
    done = stack.compose("exec", "--no-TTY", "executor", "annals", "doctor", "--json", check=False)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    assert checks["functions' API"]["ok"]
    assert {"node-22", "python-3.13", "static-1"} <= set(checks["runtimes"]["detail"].split(", "))
    assert "memory: kernel" in checks["limits"]["detail"]
    assert checks["functions' network"]["detail"].endswith("host and cloud metadata are closed")
    assert [name for name, check in checks.items() if not check["ok"]] == []


def test_executor_says_why_it_does_not_start_with_an_address_that_functions_cannot_reach(stack: Stack) -> None:
    nowhere = ("--env", "ANNALS_FUNCTIONS_API_URL=http://localhost:8080/v1", "--env", "ANNALS_DATA=/tmp/other")
    done = stack.compose("run", "--rm", "--no-deps", "--no-TTY", *nowhere, "executor", check=False)

    assert done.returncode == 1
    assert "Functions cannot reach the API at http://localhost:8080/v1" in done.stdout + done.stderr
    assert "localhost is the container itself" in done.stdout + done.stderr


def test_no_secret_is_in_an_environment_and_only_the_executor_has_the_engines_socket(stack: Stack) -> None:
    password = stack.compose("exec", "--no-TTY", "postgres", "cat", "/run/secrets/postgres/password").stdout
    assert len(password) == 64
    for service in SERVICES:
        [container] = stack.containers(service)
        found = stack.inspect(container)
        assert password not in json.dumps(found)
        assert found["State"]["Health"]["Status"] == "healthy"
        assert found["HostConfig"]["Memory"] > 0
        sockets = [mount for mount in found["Mounts"] if mount["Destination"] == "/var/run/docker.sock"]
        assert bool(sockets) == (service == "executor")
    refused = stack.compose(
        "exec",
        "--no-TTY",
        "valkey",
        "bash",
        "-c",
        r"exec 3<>/dev/tcp/127.0.0.1/6379; printf 'PING\r\n' >&3; head -1 <&3",
    )
    assert refused.stdout.startswith("-NOAUTH")


@pytest.mark.parametrize("service", SERVICES)
def test_killed_service_comes_back_and_nothing_is_lost(client: Client, stack: Stack, hello: str, service: str) -> None:
    ended = client.execution(hello, client.execute(hello)["$id"])
    waiting = client.execute(hello, **{"async": True})["$id"]
    stack.kill(service)

    def completed() -> bool:
        return bool(client.execution(hello, waiting)["status"] == "completed")

    eventually(completed, 60)
    assert client.execution(hello, ended["$id"]) == ended
    assert client.execute(hello)["responseBody"] == "hello"
    eventually(lambda: httpx.get(f"{stack.endpoint}/health/ready", timeout=30).status_code == 200, 60)


def test_api_and_workers_scale(stack: Stack, client: Client, hello: str) -> None:
    stack.sh(SCALE)
    stack.environment |= {"ANNALS_API_SCALE": "2", "ANNALS_WORKER_SCALE": "3"}

    eventually(lambda: roles(stack) == {"api": 2, "worker": 3, "keeper": 1}, 60, explain=lambda: roles(stack))
    assert client.execute(hello)["responseBody"] == "hello"


def test_no_request_fails_in_the_upgrade_that_the_page_describes(stack: Stack, client: Client, hello: str) -> None:
    """The new version is the same one under another name: two versions side by side are what tests/faults proves."""
    before = {service: stack.containers(service) for service in ("api", "worker", "keeper", "executor")}
    load = Load(stack, requests_a_second=30, clients=4)
    stack.take_newer_image()
    with load.running():
        stack.sh(UPGRADE)

    assert load.failed == []
    assert load.answered > 100
    for service, former in before.items():
        replaced = stack.containers(service)
        assert len(replaced) == len(former)
        assert {stack.inspect(container)["Config"]["Image"] for container in replaced} == {stack.newer}
    assert stack.containers("executor-2") == []

    def unfinished() -> list[str]:
        ended = (client.execution(hello, execution) for execution in load.asynchronous_ids)
        return [execution["$id"] for execution in ended if execution["status"] != "completed"]

    eventually(lambda: not unfinished(), 60, explain=unfinished)


def test_everything_is_there_after_down_and_up(stack: Stack, client: Client, hello: str) -> None:
    ended = client.execution(hello, client.execute(hello)["$id"])
    events = stack.compose("exec", "--no-TTY", "api", "annals", "events", "--json").stdout
    assert events
    key = dict(stack.headers)
    stack.compose("down", "--timeout", "20")
    assert stack.compose("ps", "--all", "--quiet").stdout == ""
    began = time.monotonic()
    stack.up()

    assert time.monotonic() - began < 120
    assert stack.headers == key
    assert client.execution(hello, ended["$id"]) == ended
    assert stack.compose("exec", "--no-TTY", "api", "annals", "events", "--json").stdout.startswith(events)
    assert client.execute(hello)["responseBody"] == "hello"
