"""Hostile values by their use: texts, JSON tokens, headers, methods, queries, and lines of a head.

Values without a bar are written in one string, separated by bars.
"""

from base64 import urlsafe_b64encode

from tests.fuzz.requests import DOMAIN

_DEEP = urlsafe_b64encode(b'{"a":' + b"[" * 1500).rstrip(b"=")
_NO_TEXT = urlsafe_b64encode(b'{"id":"\xff","secret":"\xff","sub":"\xff"}').rstrip(b"=")

_TEXTS = (
    " |unique()|*|null|true|-1|0|1e3|../../etc/passwd|/|%|%00|%2e%2e%2f|' OR 1=1 --|{}|[]|$(id)|${a}|{{a}}|"
    "<script>|* * * * *|9999-12-31T23:59:59.999+14:00|0001-01-01T00:00:00-14:00|2020-02-30|99999999999999|"
    "NaN|Infinity|0x10|a@b|@|functions.*.create|users|any|user:a|team:a/owner|role:all|bytes=0-|bytes 0-1/2"
)
TEXTS = (
    *(
        "",
        "a" * 300,
        "é" * 40,
        "日本語",
        "\U0010ffff",
        "\0",
        "a\0b",
        "\r\n",
        "\x1b[31m",
        "\u2028",
        "\ufeff",
        "\u202e",
        "١٢٣",
    ),
    *_TEXTS.split("|"),
)

TOKENS = (
    *rb'"\ud800"|"\udc00\ud800"|"\u0000"|"\x41"|"|1e999999|-1e999999|-0|-0.0|1e-999999|0.1e1|01|.5|+1|NaN|nul'.split(
        b"|"
    ),
    *b'Infinity|-Infinity|true|false|null|[]|{}|{"a":1,"a":2}|undefined|2147483648|-2147483649|1.5|1,'.split(b"|"),
    *b"9223372036854775807|9223372036854775808|18446744073709551616|'a'|/* a */1".split(b"|"),
    *(b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\x01"', b"9" * 400, b"9" * 5000, b"[" * 2000, b"[" * 900 + b"]" * 900),
    b'{"a":' * 1500 + b"1" + b"}" * 1500,
)
"""JSON values as bytes, since no encoder produces them."""

_OF_HEADERS: dict[bytes, tuple[bytes, ...] | list[bytes]] = {
    b"Accept": b"\xff|text/event-stream;q=0|multipart/form-data|*/*".split(b"|"),
    b"Content-Encoding": (b"gzip",),
    b"Content-Range": b"|bytes 0-0/0|bytes 5-1/9|bytes 0-99/99999999999999999999|bytes */*|bytes -1-2/3".split(b"|"),
    b"Content-Type": (
        *b"|a|text/plain|application/json; charset=utf-16|\xff|APPLICATION/JSON|multipart/mixed".split(b"|"),
        *b'multipart/form-data|multipart/form-data; boundary=|multipart/form-data; boundary="'.split(b"|"),
        *(b"multipart/form-data; boundary=\xff", b"application/x-www-form-urlencoded"),
    ),
    b"Cookie": (*b'|;|=|a_session_fuzz-raw=|a_session_fuzz-raw=\xff|a="'.split(b"|"), b"a;" * 500),
    b"Expect": b"100-continue|a".split(b"|"),
    b"Host": (
        *b"|\xff|[|[::1]:a|a:b:c|localhost:99999999|functions.localhost|\x7f.functions.localhost|xn--\xff|a b".split(
            b"|"
        ),
        *(b"." * 200, b"a" * 300 + b".functions.localhost", DOMAIN.encode()),
    ),
    b"Idempotency-Key": (*b'|a|\xff|"|\x7f'.split(b"|"), b"a" * 300),
    b"Last-Event-ID": (*b"|-1|\xff".split(b"|"), b"9" * 30, "٣".encode()),
    b"Origin": b"|null|\xff|http://|http://[|https://a.example.test:99999999".split(b"|"),
    b"Range": b"bytes=|bytes=-0|bytes=9-1|bytes=0-99999999999999999999|a=0-1|bytes=0-0,1-1".split(b"|"),
    b"TE": (b"trailers",),
    b"Upgrade": b"websocket|h2c".split(b"|"),
    b"User-Agent": (b"\xff" * 300,),
    b"X-A" * 90: (b"b",),
    b"X-Appwrite-Dev-Key": (b"\xff",),
    b"X-Appwrite-ID": (*b"|a/../b|\xff|unique()".split(b"|"), b"a" * 300),
    b"X-Appwrite-JWT": (
        *b"|a.b.c|e30.e30.|eyJhbGciOiJub25lIn0.e30.|\xff.\xff.\xff".split(b"|"),
        b"." * 2000,
        *(b"e30." + _DEEP + b".a", b"e30." + _NO_TEXT + b".a"),
    ),
    b"X-Appwrite-Key": (*b"|\xff|ephemeral_a.b.c|dynamic_".split(b"|"), b"standard_" + b"a" * 256, b"a" * 9000),
    b"X-Appwrite-Locale": (b"\xff",),
    b"X-Appwrite-Project": (*b"|console|\xff|\x01|fuzz-raw, fuzz-raw".split(b"|"), b"a" * 5000),
    b"X-Appwrite-Response-Format": (*b"|1|0.0.0|9.9.9|1.8|\xff|-1.8.0".split(b"|"), b"9" * 300),
    b"X-Appwrite-Session": (*b"|\xff|e30=|eyJpZCI6IlwwIiwic2VjcmV0IjoiYSJ9|====".split(b"|"), _DEEP, _NO_TEXT),
    b"X-Fallback-Cookies": (*b'|{|[]|{"a":1}|{"a":"\xff"}|\xff'.split(b"|"), b'{"a":' * 1500, b"[" * 1500),
    b"X-Forwarded-For": (b"\xff",),
    b"X-Forwarded-Host": (DOMAIN.encode(),),
    b"X-Forwarded-Proto": (b"https",),
    b"X-GitHub-Event": (b"ping",),
    b"X-Http-Method-Override": (b"DELETE",),
    b"X-Hub-Signature-256": (b"sha256=\xff",),
    b"X-Request-Id": (*b"|\xff|a\tb".split(b"|"), b"a" * 300),
    b"X-SDK-Language": (b"\xff",),
}
HEADERS = tuple((name, value) for name, values in _OF_HEADERS.items() for value in values)

METHODS = tuple(b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE PROPFIND QUERY M-SEARCH".split())

QUERIES = (
    *b"asOf=|asOf=1|asOf=-1|asOf=9999-12-31T23%3A59%3A59.999%2B14%3A00|asOf=0001-01-01|asOf=%00|asOf[]=a".split(b"|"),
    *b"dryRun=true|dryRun=|dryRun=%00|dryRun[]=1|dryRun=true&dryRun=false|project=console|project[a][b]=c".split(b"|"),
    *b"project=|project=%00|project=%ff|project[]=a|project=fuzz-raw|queries=a|queries[]=|queries[][]=a".split(b"|"),
    *b"queries[a|queries[]=%7B%7D|queries[]=%ff|queries[9999999999999]=a|=|%|%zz|%u0041|a=%ed%a0%80".split(b"|"),
    *b"search=%00|total=x|limit=-1|limit=99999999999999999999|limit=%D9%A1|offset=1e3|range=a|from=-1&to=0".split(b"|"),
    *(b"queries[]=" + b"%5B" * 300, b"queries[]=%7B%22method%22%3A%22limit%22%2C%22values%22%3A%5B1e999%5D%7D"),
    *(b"a[" * 600, b"a" + b"[b]" * 600 + b"=c", b"&" * 900, b"from=9" * 50, b"output=%00"),
)

LENGTHS = (*b"0|-1|+2|0x2|1, 2||a|1000000|2 |\xb2".split(b"|"), b"9" * 25)
CODINGS = tuple(b"chunked|xchunked|identity|chunked, identity|gzip, chunked||Chunked|\xff".split(b"|"))
SIZES = (*b"-2|0x2|ffffffffffffffffff||2 |2;a=b|g|00000000000002|2\n".split(b"|"), b"2;" + b"a" * 5000)
LINES = (
    *b"X-A: b\r\n c\r\n| X-A: b\r\n|X-A : b\r\n|: a\r\n|X-A\r\n|X-A: b\rc\r\n|X-A: b\0c\r\n|\r\n|\n|\0".split(b"|"),
    *b"X-A: b\nX-B: c\r\n|X-\xff: a\r\n|Host: a.example.test\r\n|Transfer-Encoding: chunked\r\n|Trailer: X-A\r\n".split(
        b"|"
    ),
    *b"Content-Length: 3\r\n|Connection: keep-alive, close\r\n|Connection: upgrade\r\nUpgrade: a\r\n".split(b"|"),
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
    *(b"X-A: " + b"a" * 70_000 + b"\r\n", b"X-A: b\r\n" * 120),
)
"""Lines to insert into a head, some of them without an end."""

FIRST_LINES = (
    *b"|\r\n\r\n\r\n|GET\r\n|GET /\r\n\r\n|GET / HTTP/0.9\r\n|GET / HTTP/2.0\r\n|GET  / HTTP/1.1\r\n".split(b"|"),
    *b"GET / a HTTP/1.1\r\n|PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n|\x16\x03\x01\x02\0\x01|GET /\0 HTTP/1.1\r\n".split(b"|"),
    *b"GET /\xff HTTP/1.1\r\n|CONNECT a:1 HTTP/1.1\r\n|get / HTTP/1.1\r\n|GET / HTTP/1.1 \r\n".split(b"|"),
    *b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n|GET / HTTP/1.10\r\n|GET / http/1.1\r\n|SOURCE / ICE/1.0\r\n".split(b"|"),
    *(b"G" * 70_000, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n", b"GET / RTSP/1.0\r\n"),
)
TRAILERS = (
    *b"\r\n|X-A: b\r\n\r\n|Content-Length: 9\r\n\r\n|Transfer-Encoding: chunked\r\n\r\n|X|".split(b"|"),
    b"X-A: b\r\n" * 150 + b"\r\n",
)
