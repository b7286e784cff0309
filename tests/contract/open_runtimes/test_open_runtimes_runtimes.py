"""Runtimes through the Open Runtimes API: authentication, creation, logs, and results of builds."""

import shutil
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from tests.contract.drivers.hosts import PYTHON, processes_with
from tests.contract.open_runtimes.control import START, UNPACK, ControlPlane, printed
from tests.unit.executor.archives import gzipped, tar_of, zipped

pytestmark = pytest.mark.timeout(300)

IMAGE = f"openruntimes/python:v5-{PYTHON.partition('-')[2]}"
MAIN = b"def main(context):\n    return context.res.text('hi')\n"
Pack = Callable[[dict[str, bytes]], bytes]
Soon = Callable[[Callable[[], object]], None]


class Stream:
    """A reader of a runtime's log, from now to its end."""

    def __init__(self, plane: ControlPlane, name: str) -> None:
        self.name = name
        self.heard: list[str] = []
        self._plane = plane
        self.listening = threading.Thread(target=self._listen)
        self.listening.start()

    def _listen(self) -> None:
        with self._plane.http.stream("GET", f"/runtimes/{self.name}/logs") as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            assert stream.headers["cache-control"] == "no-cache"
            for line in stream.iter_lines():
                self.heard.append(line)


@pytest.mark.runtime(47)
def test_unknown_runtimes_answer_404_and_a_missing_secret_401(plane: ControlPlane) -> None:
    def error(answer: httpx.Response) -> tuple[int, str, str]:
        said = answer.json()
        assert said["code"] == answer.status_code
        assert said["version"]
        return answer.status_code, said["type"], said["message"]

    assert error(plane.http.get("/unknown")) == (404, "general_route_not_found", "Not Found")
    assert error(plane.http.get("/runtimes/nobody")) == (404, "runtime_not_found", "Runtime not found")
    assert error(plane.http.delete("/runtimes/nobody")) == (404, "runtime_not_found", "Runtime not found")
    calls = [("GET", "/runtimes"), ("POST", "/runtimes"), ("GET", "/runtimes/x"), ("DELETE", "/runtimes/x")]
    calls += [("GET", "/runtimes/x/logs"), ("POST", "/runtimes/x/executions"), ("POST", "/runtimes/x/commands")]
    for method, path in calls:
        for given in ("", "Bearer", "Bearer wrong", "Basic a-secret-for-tests-only"):
            answer = plane.http.request(method, path, headers={"authorization": given})
            assert error(answer) == (401, "general_unauthorized", "Missing executor key")


def test_health_needs_no_secret_of_the_control_plane(plane: ControlPlane) -> None:
    answer = plane.http.get("/health", headers={"authorization": ""})

    assert (answer.status_code, answer.text) == (200, "OK")


@pytest.mark.runtime(40, 46, 48)
def test_build_that_is_removed_leaves_its_artefact_and_nothing_else(plane: ControlPlane, soon: Soon) -> None:
    before = plane.left()
    answer = plane.build(IMAGE, {"main.py": MAIN}, command=f'{UNPACK} "echo from the commands"')
    made = answer.json()

    assert answer.status_code == 201, answer.text
    assert "from the commands" in printed(made["output"])
    assert "Build finished." in printed(made["output"])
    assert made["path"].startswith("/builds/app-1/")
    assert (plane.storage / made["path"].strip("/")).stat().st_size == made["size"]
    assert abs(made["startTime"] - time.time()) < 120
    assert made["duration"] > 0
    assert plane.http.get("/runtimes").json() == []
    soon(lambda: plane.left() == before)


@pytest.mark.runtime(40)
@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        (tar_of, "tar -xf /tmp/code.tar.gz -C /mnt/code"),
        (gzipped, "tar -zxf /tmp/code.tar.gz -C /mnt/code"),
        pytest.param(
            zipped,
            "unzip -q /tmp/code.tar.gz -d /mnt/code",
            marks=pytest.mark.skipif(not shutil.which("unzip"), reason="sandboxes have the host's programs"),
        ),
    ],
    ids=["tar", "tar.gz", "zip"],
)
def test_source_of_each_format_is_built(plane: ControlPlane, pack: Pack, unpack: str) -> None:
    source = plane.put({"main.py": MAIN, "lib/data.txt": b"packed"}, pack)
    command = f'{unpack} && bash helpers/build.sh "cat lib/data.txt"'
    answer = plane.build(IMAGE, {}, source=source, command=command)

    assert answer.status_code == 201, answer.text
    assert "packed" in printed(answer.json()["output"])


@pytest.mark.parametrize(
    ("command", "message"),
    [("cp doesnotexist.js elsewhere.js", "doesnotexist.js"), ("exit 1", "Build command exited with code 1.")],
)
def test_failed_build_returns_its_output(plane: ControlPlane, soon: Soon, command: str, message: str) -> None:
    before = plane.left()
    answer = plane.build(IMAGE, {"main.py": MAIN}, command=command)

    assert (answer.status_code, answer.json()["type"]) == (400, "build_failed")
    assert message in answer.json()["message"]
    assert plane.http.get("/runtimes").json() == []
    soon(lambda: plane.left() == before)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"source": "/functions/nobody.tar.gz"}, "runtime_failed", "no source"),
        ({"source": "/../../etc/passwd"}, "general_argument_invalid", "no path"),
        ({"destination": "/builds/../.."}, "general_argument_invalid", "no path"),
        ({"image": "openruntimes/cobol:v5-68"}, "runtime_failed", "cobol-68"),
        ({"cacheKey": ".."}, "general_argument_invalid", "cacheKey"),
        ({"runtimeEntrypoint": "npm start"}, "runtime_failed", "start command"),
        ({"command": "true"}, "build_failed", "No build output found."),
        ({"command": "sleep 600", "timeout": 1}, "build_failed", "within 1 second"),
    ],
)
def test_invalid_runtime_is_refused_with_a_message(  # type: ignore[no-untyped-def]
    plane: ControlPlane, changes, kind: str, words: str
) -> None:
    answer = plane.build(**{"image": IMAGE, "files": {"main.py": MAIN}, **changes})

    assert answer.status_code == 400, answer.text
    assert answer.json()["type"] == kind
    assert words in answer.json()["message"]
    assert plane.http.get("/runtimes").json() == []


def test_standing_runtime_is_listed_and_takes_commands_until_it_is_deleted(plane: ControlPlane, soon: Soon) -> None:
    name, before = plane.name(), plane.left()
    answer = plane.create(
        runtimeId=name,
        image=IMAGE,
        source=plane.put({"main.py": MAIN}),
        command="touch /tmp/note",
        variables={"A": "b"},
    )
    assert answer.status_code == 201, answer.text

    def command(text: str, **sent: object) -> httpx.Response:
        return plane.http.post(f"/runtimes/{name}/commands", json={"command": text, **sent})

    seen = plane.http.get(f"/runtimes/{name}").json()
    assert [seen] == plane.http.get("/runtimes").json()
    assert seen["name"].endswith(f"-{name}")
    assert seen["status"].startswith("Up ")
    assert (seen["image"], seen["version"], seen["initialised"], seen["listening"]) == (IMAGE, "v5", 1, 0)
    assert set(seen) == {
        *("version", "created", "updated", "name", "hostname", "status", "key", "listening", "image", "initialised")
    }
    again = plane.create(runtimeId=name, image=IMAGE)
    assert (again.status_code, again.json()["type"]) == (409, "runtime_conflict")
    assert command("ls /tmp/note; echo $A").json() == {"output": "/tmp/note\nb\n"}
    failed, late = command("exit 3"), command("sleep 600", timeout=1)
    assert (failed.status_code, failed.json()["type"]) == (500, "command_failed")
    assert failed.json()["message"] == "Failed to execute command."
    assert (late.status_code, late.json()["type"]) == (500, "command_timeout")
    assert late.json()["message"] == "Operation timed out."
    invalid = plane.execute(name)
    assert (invalid.status_code, invalid.json()["type"]) == (400, "execution_bad_request")
    assert plane.delete(name) == 200
    assert plane.delete(name) == 404
    assert command("true").status_code == 404
    soon(lambda: plane.left() == before)


def test_deleting_ends_a_build_with_all_its_processes(plane: ControlPlane, soon: Soon) -> None:
    name, marker = plane.name(), f"8639{time.time_ns() % 10_000}.5"
    answers: list[httpx.Response] = []

    def build() -> None:
        answers.append(plane.build(IMAGE, {"main.py": MAIN}, runtimeId=name, command=f"sleep {marker}"))

    building = threading.Thread(target=build)
    building.start()
    soon(lambda: processes_with(f"sleep\0{marker}"))
    waiting = plane.create(runtimeId=name, image=IMAGE)
    assert (waiting.status_code, "already being created" in waiting.json()["message"]) == (409, True)

    assert plane.delete(name) == 200
    building.join(60)
    assert processes_with(f"sleep\0{marker}") == []
    assert answers[0].status_code == 400


@pytest.mark.runtime(44)
def test_cache_key_finds_the_downloads_of_an_earlier_build(plane: ControlPlane) -> None:
    command = f'{UNPACK} "echo kept > $PIP_CACHE_DIR.note"'
    first, second, other = (
        printed(plane.build(IMAGE, {"main.py": MAIN}, command=command, cacheKey=key).json()["output"])
        for key in ("one", "one", "two")
    )

    assert "Build cache miss." in first
    assert "Build cache hit." in second
    assert "Build cache miss." in other


@pytest.mark.runtime(57)
def test_log_of_a_running_build_is_streamed_to_its_end(plane: ControlPlane) -> None:
    stream = Stream(plane, plane.name())  # before there is anything to listen to
    steps = "for n in 1 2 3 4; do echo step $n; sleep 0.4; done"
    made = plane.build(IMAGE, {"main.py": MAIN}, runtimeId=stream.name, command=f'{UNPACK} "{steps}"').json()
    stream.listening.join(60)

    assert not stream.listening.is_alive(), "it goes on after the build"
    pieces = [line.partition(" ") for line in stream.heard]
    assert "".join(content for _, _, content in pieces).replace("\\n", "\n") == printed(made["output"])
    assert len(pieces) > 1
    moments = [moment for moment, _, _ in pieces]
    assert moments == sorted(moments)


def test_build_log_can_be_read_while_the_build_runs(plane: ControlPlane, soon: Soon) -> None:
    stream = Stream(plane, plane.name())
    command = f'{UNPACK} "echo step; sleep 600"'
    building = threading.Thread(
        target=plane.build, args=(IMAGE, {"main.py": MAIN}), kwargs={"runtimeId": stream.name, "command": command}
    )
    building.start()

    soon(lambda: any("step" in line for line in stream.heard))
    assert building.is_alive()
    assert plane.delete(stream.name) == 200
    for thread in (building, stream.listening):
        thread.join(60)
        assert not thread.is_alive()


def test_log_of_a_runtime_that_never_comes_is_not_found(plane: ControlPlane) -> None:
    answer = plane.http.get("/runtimes/nobody/logs?timeout=1")

    assert (answer.status_code, answer.json()["type"]) == (404, "runtime_not_found")


def test_server_that_is_created_takes_commands_beside_its_calls(plane: ControlPlane) -> None:
    name = plane.name()
    source = plane.built(IMAGE, "main.py", MAIN.decode())
    made = plane.create(
        runtimeId=name, image=IMAGE, source=source, entrypoint="main.py", runtimeEntrypoint=START, command="echo up"
    )
    assert made.status_code == 201, made.text
    assert printed(made.json()["output"]) == "up\n"
    seen = plane.http.get(f"/runtimes/{name}").json()
    assert seen["listening"] == 1
    assert len(seen["key"]) == 32
    assert plane.execute(name).json()["body"] == "hi"
    answer = plane.http.post(
        f"/runtimes/{name}/commands", json={"command": "ls src/function/main.py; echo $OPEN_RUNTIMES_SECRET"}
    )
    assert answer.json()["output"].splitlines() == ["src/function/main.py", seen["key"]]
    assert plane.delete(name) == 200
