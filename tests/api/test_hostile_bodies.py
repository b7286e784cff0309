"""Invalid bodies of JSON, text and forms: each is refused in the envelope or carried byte for byte."""

import json
from collections.abc import Iterator

import pytest

from tests.api.wire import NODE, PYTHON
from tests.client import Client, packed
from tests.instance import AnnalsInstance, flat


@pytest.fixture(scope="module", autouse=True)
def memory(annals_instance: AnnalsInstance) -> Iterator[None]:
    """Check that the API processes do not grow during these tests."""
    with flat(annals_instance):
        yield


@pytest.fixture(scope="module")
def client(annals_instance: AnnalsInstance) -> Client:
    return Client(annals_instance.endpoint, annals_instance.headers)


@pytest.fixture(scope="module")
def function(client: Client) -> str:
    return client.function("zoo-node", NODE)


AS_JSON = {"content-type": "application/json"}
DEEP = 200_000
JSON_ZOO = {
    "nothing": b"",
    "the beginning": b"{",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "a text": b'"functionId"',
    "NaN": b'{"functionId": NaN}',
    "infinity": b'{"timeout": Infinity}',
    "a number beyond doubles": b'{"timeout": 1e999999}',
    "a number of many digits": b'{"timeout": ' + b"9" * 100_000 + b"}",
    "deep lists": b"[" * DEEP,
    "deep lists that end": b'{"name":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep maps": b'{"name":' * DEEP,
    "bytes that are no text": b'{"name": "\xff\xfe"}',
    "half a pair": b'{"name": "\\ud800", "functionId": "a"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "a mark of the byte order": b'\xef\xbb\xbf{"name": "a"}',
    "a comment": b'{"name": "a" /* b */}',
    "a comma too many": b'{"name": "a",}',
    "single quotes": b"{'name': 'a'}",
    "doubled names": b'{"name": "a", "name": {"b": 1}, "name": null}',
    "many names": b"{" + b",".join(b'"n%d": 0' % n for n in range(50_000)) + b"}",
    "a long name": b'{"' + b"n" * 1_000_000 + b'": 0}',
    "two values": b'{"name": "a"}{"name": "b"}',
    "much space": b" " * 2_000_000 + b"{",
    "more than may come": b'{"name": "' + b"n" * 2_100_000 + b'"}',
}


@pytest.mark.parametrize("name", JSON_ZOO)
def test_invalid_json_is_refused_in_the_envelope(client: Client, function: str, name: str) -> None:
    for path in ("/functions", f"/functions/{function}/variables", "/users", "/account"):
        answer = client.http.post(path, content=JSON_ZOO[name], headers=AS_JSON)

        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["code"] == answer.status_code


UNICODE_ZOO = [
    *(
        "é",
        "e\u0301",
        "日本語",
        "🏳️‍🌈",
        "\u202eevil",
        "\u2028\u2029",
        "\ufeffmark",
        "\ufffe\uffff",
        "\U0010ffff",
        "\u00ad",
    ),
    *(
        "Ａ",
        "ı İ ß ſ ǅ",
        "a\tb",
        "\u0085",
        "ÿ",
        "\u00c3\u00a9",
        "\ud7ff\ue000",
        "a\0b",
        "\x0b",
        "\x7f",
        "\x1b[31m",
        "%00",
    ),
]


@pytest.mark.parametrize("code", [NODE, PYTHON], ids=["node", "python"])
def test_text_arrives_byte_for_byte_or_is_refused(client: Client, code: str) -> None:
    """The text passes the API, the log, Postgres and the function's server, and returns."""
    runtime = "node-22" if code is NODE else "python-3.11"
    function = client.function(f"unicode-{runtime[:4]}", code, runtime=runtime)
    for text in UNICODE_ZOO:
        named = client.http.put(f"/functions/{function}", json={"name": text, "runtime": runtime})
        assert named.status_code == 400 or named.json()["name"] == text
        if named.status_code == 200:
            wanted = json.dumps({"method": "equal", "attribute": "name", "values": [text]})
            found = client.call("GET", "/functions", params={"queries[]": wanted})
            assert function in {row["$id"] for row in found["functions"]}
        for field, sent in (("body", {"body": text}), ("header", {"headers": {"x-said": text}})):
            answer = client.http.post(f"/functions/{function}/executions", json=sent)
            if answer.status_code == 400:
                continue
            ran = answer.json()
            assert ran["responseStatusCode"] == 200, (field, ascii(text), ran["errors"])
            assert bytes.fromhex(json.loads(ran["responseBody"])[field]).decode() == text
            if field == "header":
                assert {"name": "x-said", "value": text} in ran["responseHeaders"]


def test_variable_arrives_byte_for_byte(client: Client, function: str) -> None:
    text = "".join(text for text in UNICODE_ZOO if "\0" not in text)
    made = client.call("POST", f"/functions/{function}/variables", json={"key": "SAID", "value": text, "secret": False})
    assert made["value"] == text

    ran = client.execute(function)

    assert bytes.fromhex(json.loads(ran["responseBody"])["variable"]).decode() == text
    refused = client.http.post(f"/functions/{function}/variables", json={"key": "NUL", "value": "a\0b"})
    assert refused.status_code == 400


def form(*parts: bytes, boundary: bytes = b"x", end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + end


def part(content: bytes, disposition: bytes = b'form-data; name="code"; filename="code.tar.gz"') -> bytes:
    return b"Content-Disposition: " + disposition + b"\r\n\r\n" + content


ARCHIVE = packed({"index.js": NODE})
MULTIPART_ZOO: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", form(part(ARCHIVE))),
    "an empty boundary": ("multipart/form-data; boundary=", form(part(ARCHIVE))),
    "a long boundary": ("multipart/form-data; boundary=" + "b" * 5000, form(part(ARCHIVE))),
    "another boundary": ("multipart/form-data; boundary=y", form(part(ARCHIVE))),
    "a boundary with breaks": ('multipart/form-data; boundary="a\tb"', form(part(ARCHIVE))),
    "nothing": ("multipart/form-data; boundary=x", b""),
    "no parts": ("multipart/form-data; boundary=x", b"--x--\r\n"),
    "no end": ("multipart/form-data; boundary=x", form(part(b"x" * 100), end=b"")),
    "cut in a head": ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; na"),
    "bare line feeds": ("multipart/form-data; boundary=x", form(part(b"code")).replace(b"\r\n", b"\n")),
    "a part without a name": ("multipart/form-data; boundary=x", form(part(ARCHIVE, b"form-data"))),
    "a part without a head": ("multipart/form-data; boundary=x", form(b"\r\ncode")),
    "a part of another kind": ("multipart/form-data; boundary=x", form(part(ARCHIVE, b'attachment; name="code"'))),
    "a name with a break": ("multipart/form-data; boundary=x", form(part(b"x", b'form-data; name="a\r\nb"'))),
    "a name of bytes": ("multipart/form-data; boundary=x", form(part(b"x", b'form-data; name="\xff\0"'))),
    "a long name": ("multipart/form-data; boundary=x", form(part(b"x", b'form-data; name="%b"' % (b"n" * 100_000)))),
    "many parts": ("multipart/form-data; boundary=x", form(*[part(b"", b'form-data; name="a"')] * 3000)),
    "many heads": ("multipart/form-data; boundary=x", form(b"A: b\r\n" * 500 + part(b"x"))),
    "a form in a form": (
        "multipart/form-data; boundary=x",
        form(b"Content-Type: multipart/mixed; boundary=y\r\n" + part(form(part(ARCHIVE), boundary=b"y"))),
    ),
    "code as a field": ("multipart/form-data; boundary=x", form(part(b"code", b'form-data; name="code"'))),
    "base64": (
        "multipart/form-data; boundary=x",
        form(b"Content-Transfer-Encoding: base64\r\n" + part(b"aGVsbG8=")),
    ),
    "another kind of multipart": ("multipart/byteranges; boundary=x", form(part(ARCHIVE))),
}


@pytest.mark.parametrize("name", MULTIPART_ZOO)
def test_invalid_form_is_refused_and_leaves_no_deployment(client: Client, function: str, name: str) -> None:
    kind, body = MULTIPART_ZOO[name]
    before = client.call("GET", f"/functions/{function}/deployments")["total"]

    for path in (f"/functions/{function}/deployments", "/functions"):
        answer = client.http.post(path, content=body, headers={"content-type": kind})

        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["code"] == answer.status_code
    assert client.call("GET", f"/functions/{function}/deployments")["total"] == before


@pytest.mark.parametrize("filename", ["../../../../etc/passwd", "/etc/passwd", "a\\..\\b", "é.tar.gz", "code.zip", ""])
def test_path_in_a_file_name_is_ignored(client: Client, function: str, filename: str) -> None:
    disposition = b'form-data; name="code"; filename="%b"' % filename.encode()
    body = form(part(ARCHIVE, disposition), part(b"false", b'form-data; name="activate"'))

    answer = client.http.post(
        f"/functions/{function}/deployments", content=body, headers={"content-type": "multipart/form-data; boundary=x"}
    )

    assert answer.status_code in {202, 400}, answer.text
    if answer.status_code == 202:
        assert client.ready(function, answer.json()["$id"])["entrypoint"] == "index.js"


def test_queries_beyond_the_bounds_are_refused(client: Client) -> None:
    one = json.dumps({"method": "equal", "attribute": "name", "values": ["a"]})
    long = json.dumps({"method": "equal", "attribute": "name", "values": ["a" * 5000]})
    deep = '{"method":"and","values":[' * 40 + one + "]}" * 40
    for queries in ([one] * 101, [long], [deep]):
        answer = client.http.get("/functions", params={"queries[]": queries})
        assert (answer.status_code, answer.json()["type"]) == (400, "general_argument_invalid")


def test_oversized_bodies_are_refused_with_and_without_a_length(client: Client, function: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 65536

    for path in ("/functions", f"/functions/{function}/variables"):
        for content in (b" " * 3_000_000, endless()):
            answer = client.http.post(path, content=content, headers=AS_JSON)
            assert (answer.status_code, answer.json()["type"]) == (400, "general_argument_invalid")


def test_repeated_large_invalid_requests_leak_no_memory(client: Client, function: str) -> None:
    """The requests hold twice the memory that may stay in use; the fixture `memory` checks this at the end."""
    large = [content for content in JSON_ZOO.values() if len(content) > 100_000]
    field = form(part(b"x" * 1_000_000, b'form-data; name="code"'))
    for _ in range(10):
        answers = [client.http.post("/functions", content=one, headers=AS_JSON) for one in large]
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answers.append(client.http.post(f"/functions/{function}/deployments", content=field, headers=headers))
        assert {answer.status_code for answer in answers} == {400}
