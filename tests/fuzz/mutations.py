"""Changes a valid request into one with hostile values, which is still a single well-framed request."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

from tests.fuzz.requests import DOMAIN, Request, part, signed
from tests.fuzz.values import HEADERS, METHODS, QUERIES, TEXTS, TOKENS


def mutated(request: Request, chance: random.Random) -> Request:
    """Return the request with one to three changes of any kind."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        request = chance.choice(_CHANGES)(request, chance)
    if any(name == b"X-Hub-Signature-256" for name, _ in request.headers) and chance.random() < 0.8:
        others = tuple(header for header in request.headers if header[0] != b"X-Hub-Signature-256")
        request = request._replace(headers=(*others, signed(request.body)))
    return request


def _method(request: Request, chance: random.Random) -> Request:
    return request._replace(method=chance.choice(METHODS))


def _segment(request: Request, chance: random.Random) -> Request:
    path, mark, query = request.target.partition(b"?")
    segments = path.split(b"/")
    texts = [text.encode() for text in TEXTS] + [b"\xff", b"\xed\xa0\x80", b"a" * 9000, b".", b".."]
    new = b"".join(
        b"%%%02x" % byte if byte <= 32 or byte > 126 or byte in b"/?#" else bytes([byte])
        for byte in chance.choice(texts)
    )
    index = chance.randrange(1, len(segments)) if len(segments) > 1 else 0
    changed = [*segments[:index], new, *segments[index + chance.randint(0, 1) :]]
    return request._replace(target=b"/".join(changed) + mark + query)


def _query(request: Request, chance: random.Random) -> Request:
    added = b"&".join(chance.choices(QUERIES, k=chance.randint(1, 3)))
    return request._replace(target=request.target + (b"&" if b"?" in request.target else b"?") + added)


def _query_value(request: Request, chance: random.Random) -> Request:
    """Change one of the request's own query parameters."""
    path, _, query = request.target.partition(b"?")
    pairs = [pair.partition(b"=") for pair in query.split(b"&")]
    index = chance.randrange(len(pairs))
    name, _, value = pairs[index]
    text = chance.choice(TEXTS).encode()
    escaped = b"".join(b"%%%02x" % byte for byte in text)
    kinds = (escaped, value[: len(value) // 2], value + escaped, value.replace(b"%22", b"%00"), value * 3)
    pairs[index] = (name + chance.choice((b"", b"", b"[]", b"[a]", b"[")), b"=", chance.choice(kinds))
    return request._replace(target=path + b"?" + b"&".join(b"".join(pair) for pair in pairs))


def _target_form(request: Request, chance: random.Random) -> Request:
    host = next((value for name, value in request.headers if name == b"Host"), b"localhost")
    target = request.target
    forms = (
        *(b"http://" + host + target, b"https://a.example.test" + target, b"http://", b"http://[", b"HTTP://" + host),
        *(b"//" + host + target, target + b"#a", target.replace(b"/", b"//"), target + b"/", b"*", b"a:1", b"/"),
        *(
            target.replace(b"/v1", b"/V1"),
            b"/v1",
            b"/v1/",
            target.replace(b"/", b"\\"),
            b"/" + target[::-1],
            target * 20,
        ),
        *(b"http://a@" + host + target, b"http://" + DOMAIN.encode() + target, target.replace(b"f", b"%66")),
    )
    return request._replace(target=chance.choice(forms))


def _header(request: Request, chance: random.Random) -> Request:
    """Replace the headers of a name, or add one."""
    name, value = chance.choice(HEADERS)
    others = tuple(header for header in request.headers if header[0].lower() != name.lower())
    return request._replace(headers=(*others, (name, value)))


def _header_again(request: Request, chance: random.Random) -> Request:
    """Add a header, possibly a repeated one, or remove one."""
    if request.headers and chance.random() < 0.4:
        index = chance.randrange(len(request.headers))
        return request._replace(headers=request.headers[:index] + request.headers[index + 1 :])
    new = chance.choice((*HEADERS, *request.headers))
    return request._replace(headers=(*request.headers, *([new] * chance.choice((1, 1, 2, 40)))))


def _header_bytes(request: Request, chance: random.Random) -> Request:
    """Insert random bytes that a header may contain into the value of a header."""
    if not request.headers:
        return request
    index = chance.randrange(len(request.headers))
    name, value = request.headers[index]
    cut = chance.randint(0, len(value))
    allowed = bytes([9, *range(32, 127), *range(128, 256)])
    value = (
        value[:cut]
        + bytes(chance.choices(allowed, k=chance.choice((1, 1, 9, 900))))
        + value[cut + chance.randint(0, 3) :]
    )
    return request._replace(headers=(*request.headers[:index], (name, value), *request.headers[index + 1 :]))


def _body(request: Request, chance: random.Random) -> Request:
    """Change the body by its kind: the values of JSON, the parts of a form."""
    kind = next((value for name, value in request.headers if name == b"Content-Type"), b"")
    if kind.startswith(b"multipart/") and request.body:
        return request._replace(body=_form(request.body, chance))
    if request.body.startswith(b"{"):
        return request._replace(body=_json(request.body, chance))
    return request._replace(body=chance.choice((b"{}", b"\0", b"a" * 5000, b"[]", b"a=b&c[]=d", b"--fuzzed--")))


def _json(body: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.15:
        bad = (
            b"\xef\xbb\xbf" + body,
            body[: len(body) // 2],
            body * 2,
            body.decode("latin-1").encode("utf-16"),
            b"[" + body + b"]",
            b"",
        )
        return chance.choice((*bad, *TOKENS))
    try:
        sent: Any = json.loads(body)
    except (ValueError, RecursionError):
        return _bytes(body, chance)
    if not isinstance(sent, dict) or not sent:
        return chance.choice(TOKENS)
    replaced: dict[str, bytes] = {}
    for name in chance.sample(sorted(sent), k=min(len(sent), chance.choice((1, 1, 2, 3)))):
        marker = f"fuzzed-{name}"
        replaced[json.dumps(marker)] = chance.choice((chance.choice(TOKENS), json.dumps(_value(chance)).encode()))
        sent[name] = [marker] if chance.random() < 0.2 else {marker: marker} if chance.random() < 0.05 else marker
    if chance.random() < 0.2:
        sent[chance.choice(TEXTS)] = _value(chance)
    text = json.dumps(sent, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
    for marker, value in replaced.items():
        text = text.replace(marker.encode(), value)
    return text


def _value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(8 if depth < 3 else 5)
    if kind < 3:
        return chance.choice(TEXTS)
    if kind < 5:
        return chance.choice((None, True, False, 0, -1, 2**31, 2**63, 10**30, 1.5, -0.0, "a" * 20_000))
    if kind < 7:
        return [_value(chance, depth + 1) for _ in range(chance.choice((0, 1, 2, 150)) if depth == 0 else 2)]
    return {chance.choice(TEXTS): _value(chance, depth + 1) for _ in range(2)}


def _form(body: bytes, chance: random.Random) -> bytes:
    bad = (
        *(part('name="\\""', b"a"), part("", b"a"), part('name="code"', b"a"), part('name="code"; filename="a"', b"")),
        *(part("name=\"a\"; filename*=UTF-8''%ff", b"a"), part("name=a; filename=b", b"c"), part('name="a', b"b")),
        *(
            part('name="activate"', b"\xff\0"),
            part('name="commands"', b"\0"),
            part('name="headers"', b"{"),
            part('name="a[b][c]"', b"d"),
        ),
        *(
            b"--fuzzed\r\n\r\na\r\n",
            b"--fuzzed\r\n: a\r\n\r\nb\r\n",
            b"--fuzzed",
            b"--fuzzed--\r\n",
            b"--fuzzed\n\n",
            b"preamble\r\n",
        ),
        b"--fuzzed\r\nContent-Disposition: form-data; name=a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\nb\r\n",
        b"--fuzzed\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\n====\r\n",
        b"--fuzzed\r\n" + b"X-A: b\r\n" * 200 + b"\r\na\r\n",
        *(part('name="a"', b"b") * 300, part(f'name="{"n" * 9000}"', b"c")),
    )
    kind = chance.randrange(6)
    if kind < 2:
        return chance.choice(bad) + body
    if kind == 2:
        return body.replace(b"--fuzzed--", chance.choice(bad) + b"--fuzzed--")
    if kind == 3:
        return body[: chance.randint(0, len(body))]
    if kind == 4:
        return body.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\n\r\n", b" \r\n", b"")), chance.randint(1, 4))
    return _bytes(body, chance)


def _bytes(body: bytes, chance: random.Random) -> bytes:
    """Replace, insert or remove a few bytes anywhere."""
    for _ in range(chance.choice((1, 1, 3, 30))):
        cut, length = chance.randint(0, len(body)), chance.choice((0, 1, 1, 20))
        body = body[:cut] + chance.randbytes(chance.choice((0, 1, 1, 4))) + body[cut + length :]
    return body


def _ids(request: Request, chance: random.Random) -> Request:
    """Percent-encode some letters of the path, which still names the same resource."""
    path, mark, query = request.target.partition(b"?")
    text = re.sub(rb"[a-z]", lambda found: b"%%%02x" % found[0][0] if chance.random() < 0.2 else found[0], path)
    return request._replace(target=text + mark + query)


_CHANGES: tuple[Callable[[Request, random.Random], Request], ...] = (
    *(_body, _body, _body, _body, _header, _header, _header_again, _header_bytes, _method),
    *(_segment, _query, _query_value, _target_form, _ids),
)
