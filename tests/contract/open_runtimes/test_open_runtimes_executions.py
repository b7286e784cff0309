"""Executions through the Open Runtimes API, for node and python: cold and warm, JSON and multipart, long logs."""

import base64
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.contract.drivers.hosts import PYTHON
from tests.contract.open_runtimes.control import JSON, START, UNPACK, ControlPlane

Soon = Callable[[Callable[[], object]], None]

pytestmark = pytest.mark.timeout(300)

PY_SOURCE = """
import asyncio, json, os, base64

async def main(context):
    req, res = context.req, context.res
    context.log("Sample Log")
    if req.path == "/object":
        return res.json({})
    if req.path == "/array":
        return res.json([])
    if req.path == "/binary":
        return res.binary(bytes([0, 10, 255]))
    if req.path == "/echo":
        return res.binary(req.body_binary)
    if req.path == "/cookies":
        return res.text("", 200, {"set-cookie": ["a=1", "b=2"]})
    if req.path == "/nap":
        await asyncio.sleep(600)
    if req.path == "/log":
        for _ in range(int(req.body_text)):
            context.log("x" * 1023)
    if req.path == "/exit":
        os._exit(3)
    return res.json({"variable": os.environ.get("CUSTOM"), "url": req.url, "path": req.path, "method": req.method})
"""

JS_SOURCE = """
module.exports = async ({ req, res, log }) => {
  log("Sample Log");
  if (req.path === "/object") return res.json({});
  if (req.path === "/array") return res.json([]);
  if (req.path === "/binary") return res.binary(Buffer.from([0, 10, 255]));
  if (req.path === "/echo") return res.binary(req.bodyBinary);
  if (req.path === "/cookies") return res.text("", 200, { "set-cookie": ["a=1", "b=2"] });
  if (req.path === "/nap") await new Promise((done) => setTimeout(done, 600000));
  if (req.path === "/log") for (let n = Number(req.bodyText); n; n--) log("x".repeat(1023));
  if (req.path === "/exit") process.exit(3);
  return res.json({ variable: process.env.CUSTOM, url: req.url, path: req.path, method: req.method });
};
"""

RUNTIMES = {
    "python": (f"openruntimes/python:v5-{PYTHON.partition('-')[2]}", "main.py", PY_SOURCE),
    "node": ("openruntimes/node:v5-22", "index.js", JS_SOURCE),
}


class Served:
    """A function of one runtime under a name of its own."""

    def __init__(self, plane: ControlPlane, runtime: str) -> None:
        image, entrypoint, source = RUNTIMES[runtime]
        self.plane, self.name = plane, f"{plane.name()}-{runtime}"
        self.cold: JSON = {
            "image": image,
            "entrypoint": entrypoint,
            "source": plane.built(image, entrypoint, source),
            "runtimeEntrypoint": START,
            "variables": {"CUSTOM": "a value"},
        }

    def call(self, path: str = "/", **sent: object) -> httpx.Response:
        return self.plane.execute(self.name, **{"path": path, **self.cold, **sent})

    def ok(self, path: str = "/", **sent: object) -> JSON:
        answer = self.call(path, **sent)
        assert answer.status_code == 200, answer.text
        found: JSON = answer.json()
        return found


@pytest.fixture(params=list(RUNTIMES))
def served(plane: ControlPlane, request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    made = Served(plane, str(request.param))
    yield made
    plane.delete(made.name)


@pytest.fixture
def python(plane: ControlPlane):  # type: ignore[no-untyped-def]
    made = Served(plane, "python")
    yield made
    plane.delete(made.name)


def parts(answer: httpx.Response) -> dict[str, bytes]:
    """The parts of a multipart reply by their names."""
    assert answer.headers["content-type"].startswith("multipart/form-data; boundary=")
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    found = {}
    for part in answer.content.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="(\w+)"', head)
        assert name is not None
        found[name[1].decode()] = content.removesuffix(b"\r\n")
    return found


@pytest.mark.runtime(49, 50)
def test_runtime_is_started_by_its_first_call_and_used_again(served: Served) -> None:
    plane = served.plane
    first, second = served.ok("/v1/users"), plane.execute(served.name, path="v1/users").json()
    seen = plane.http.get(f"/runtimes/{served.name}").json()

    assert json.loads(first["body"]) == json.loads(second["body"])
    assert json.loads(first["body"])["path"] == "/v1/users"
    assert (seen["listening"], seen["initialised"]) == (1, 1)
    assert plane.delete(served.name) == 200
    gone = plane.execute(served.name)
    assert (gone.status_code, gone.json()["type"]) == (404, "runtime_not_found")
    assert served.call().status_code == 200


def test_many_first_calls_start_one_runtime(python: Served) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: python.ok(), range(12)))

    assert {answer["statusCode"] for answer in answers} == {200}
    assert len([one for one in python.plane.http.get("/runtimes").json() if one["name"].endswith(python.name)]) == 1


@pytest.mark.runtime(51)
def test_reply_is_json_where_accept_lists_it(python: Served) -> None:
    names = {"statusCode", "headers", "body", "logs", "errors", "duration", "startTime"}
    for accept in ("application/json", "application/*", "text/plain, application/json"):
        answer = python.call("/object", accept=accept)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert set(answer.json()) == names
    for accept in ("application/xml", "text/plain", "*/*"):
        answer = python.call("/object", accept=accept)
        assert answer.status_code == 200
        found = parts(answer)
        assert set(found) == names
        assert (found["statusCode"], found["body"]) == (b"200", b"{}")
        assert json.loads(found["headers"])["content-type"] == "application/json; charset=utf-8"


@pytest.mark.runtime(52)
def test_bytes_pass_through_multipart_both_ways_and_not_through_json(served: Served) -> None:
    refused = served.call("/binary")
    assert (refused.status_code, refused.json()["type"]) == (400, "execution_bad_json")
    assert parts(served.call("/binary", accept="multipart/form-data"))["body"] == b"\0\n\xff"
    content = bytes(range(256)) + b"\r\n--not-the-boundary\r\n"
    fields: dict[str, tuple[None, str | bytes]] = {
        "path": (None, "/echo"),
        "method": (None, "POST"),
        "body": (None, content),
    }
    url, headers = f"/runtimes/{served.name}/execution", {"accept": "multipart/form-data"}
    answer = served.plane.http.post(url, files=fields, headers=headers)
    assert parts(answer)["body"] == content


@pytest.mark.runtime(53)
def test_empty_object_and_an_empty_list_come_back_as_they_are(served: Served) -> None:
    assert served.ok("/object")["body"] == "{}"
    assert served.ok("/array")["body"] == "[]"


@pytest.mark.runtime(54)
def test_long_logs_come_whole_and_endless_ones_cut(served: Served) -> None:
    whole, cut = served.ok("/log", body="1024", method="POST"), served.ok("/log", body="15000", method="POST")

    assert whole["logs"].count("x") == 1023 * 1024
    assert 5 * 1024 * 1024 < len(cut["logs"]) < 6 * 1024 * 1024
    assert cut["logs"].rstrip().endswith("Log file has been truncated to 5.00MB.")
    assert served.ok("/log", body="10", method="POST", logging=False)["logs"] == ""
    assert served.ok("/log", body="10", method="POST", logging="false")["logs"] == ""


@pytest.mark.runtime(55)
def test_function_that_does_not_end_is_a_failed_execution_in_a_good_reply(served: Served) -> None:
    served.ok()
    answer = served.ok("/nap", timeout=1)

    assert answer["statusCode"] == 500
    assert "Execution timed out." in answer["errors"]
    assert "Sample Log" in answer["logs"]
    assert 0.9 < answer["duration"] < 100


@pytest.mark.runtime(56)
@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_slow_top_level_code_is_part_of_the_first_execution(plane: ControlPlane, runtime: str) -> None:
    image, entrypoint, source = RUNTIMES[runtime]
    slow = {
        "python": "import time\ntime.sleep(2)\n",
        "node": "const end = Date.now() + 2000; while (Date.now() < end);\n",
    }
    name = plane.name()
    answer = plane.execute(
        name,
        image=image,
        entrypoint=entrypoint,
        source=plane.built(image, entrypoint, slow[runtime] + source),
        runtimeEntrypoint=START,
    ).json()

    assert answer["statusCode"] == 200
    assert answer["duration"] > 2
    assert plane.delete(name) == 200


@pytest.mark.runtime(58)
def test_call_shows_its_variable_url_log_and_reply(served: Served) -> None:
    answer = served.ok(
        "/a?b=c",
        method="PATCH",
        headers={"x-forwarded-proto": "https", "host": "functions.example.org", "x-number": 5},
    )

    assert answer["statusCode"] == 200
    assert answer["headers"]["content-type"] == "application/json; charset=utf-8"
    assert json.loads(answer["body"]) == {
        "variable": "a value",
        "url": "https://functions.example.org/a?b=c",
        "path": "/a",
        "method": "PATCH",
    }
    assert answer["logs"] == "Sample Log\n"
    assert answer["errors"] == ""
    assert not [name for name in answer["headers"] if name.startswith("x-open-runtimes-")]


def test_repeated_header_is_a_list_since_one_format_and_its_last_value_before(served: Served) -> None:
    served.ok()

    def cookies(**headers: str) -> object:
        url = f"/runtimes/{served.name}/executions"
        sent = {"accept": "application/json", **headers}
        return served.plane.http.post(url, json={"path": "/cookies"}, headers=sent).json()["headers"]["set-cookie"]

    assert cookies() == "b=2"
    assert cookies(**{"x-executor-response-format": "0.10.0"}) == "b=2"
    assert cookies(**{"x-executor-response-format": "0.11.0"}) == ["a=1", "b=2"]


def test_exited_process_fails_its_execution_and_restarts_by_its_policy(python: Served, soon: Soon) -> None:
    once = python.ok("/exit")
    assert once["statusCode"] == 500
    assert "exited with code 3" in once["errors"]
    soon(lambda: python.plane.execute(python.name).status_code == 404)
    with_policy = python.ok("/exit", restartPolicy="always")
    assert with_policy["statusCode"] == 500
    assert python.plane.execute(python.name, path="/object").json()["body"] == "{}"


def test_artefact_that_is_no_archive_fails_the_runtime(plane: ControlPlane) -> None:
    path = plane.storage / "builds" / "broken.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode("bm8gYXJjaGl2ZQ=="))
    image = RUNTIMES["python"][0]
    answer = plane.execute(plane.name(), image=image, source="/builds/broken.tar.gz", entrypoint="main.py")

    assert (answer.status_code, answer.json()["type"]) == (400, "runtime_failed")
    assert plane.http.get("/runtimes").json() == []


def test_site_is_built_into_a_folder_and_its_files_are_served(plane: ControlPlane) -> None:
    image, name = "openruntimes/static:v5-1", plane.name()
    files = {"build.sh": b"mkdir -p dist/sub && echo '<p>built</p>' > dist/index.html && echo 1 > dist/sub/a.txt"}
    built = plane.build(image, files, command=f'{UNPACK} "bash build.sh"', outputDirectory="./dist")
    assert built.status_code == 201, built.text
    made = plane.create(runtimeId=name, image=image, source=built.json()["path"], runtimeEntrypoint=START)
    assert made.status_code == 201, made.text
    page, other, missing = (plane.execute(name, path=path).json() for path in ("/", "/sub/a.txt", "/build.sh"))

    assert (page["statusCode"], page["body"]) == (200, "<p>built</p>\n")
    assert page["headers"]["content-type"] == "text/html; charset=utf-8"
    assert (other["statusCode"], other["body"]) == (200, "1\n")
    assert missing["statusCode"] == 404
    assert plane.delete(name) == 200
