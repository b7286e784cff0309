"""Pages for browsers at a function's host name if the function answers with no page of its own."""

from html import escape
from http import HTTPStatus

import msgspec

from annals.app.edge.answers import Answer, Header
from annals.app.edge.error_answers import Envelope

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_HTML: Header = (b"content-type", b"text/html; charset=UTF-8")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{status} {phrase}</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid; place-items: center; }}
  main {{ max-width: 34rem; padding: 2rem; }}
  h1 {{ font-size: 1.5rem; margin: 0 0 .5rem; }}
  code {{ opacity: .7; }}
</style>
</head>
<body>
<main>
<h1>{status} {phrase}</h1>
{rest}</main>
</body>
</html>
"""


def page(status: int, rest: str, headers: list[Header] | None = None) -> Answer:
    """Return a page for a status. `rest` is HTML, and `headers` come before those of the page."""
    phrase = _PHRASES.get(status, "Error")
    others = [header for header in headers or () if header[0] != b"content-type"]
    return Answer(status, _PAGE.format(status=status, phrase=phrase, rest=rest).encode(), [*others, _HTML])


def error_page(answer: Answer) -> Answer:
    """Return an error's envelope as a page."""
    envelope = msgspec.json.decode(answer.body, type=Envelope)
    rest = f"<p>{escape(envelope.message)}</p>\n<p><code>{escape(envelope.type)}</code></p>\n"
    return page(answer.status, rest, answer.headers)
