"""The compatibility page, made from the code (`make docs`): operations by client, and every deliberate difference."""

import re
from collections.abc import Iterator

from annals.app.openapi.document import NAMES
from tests.api.cli import CLI
from tests.api.sdks import SDKS
from tests.api.test_web_sdk import PAGE as WEB_PAGE
from tests.api.test_web_sdk import WEB_SDK
from tests.architecture.source import ROOT
from tests.routes import ENDPOINTS
from tests.unit.app.openapi.comparison import REASONS

PAGE = ROOT / "docs" / "compatibility.md"
_FORMATS = ("none", "1.8.0", "2.5.0")
_BY_PUSHING = frozenset(
    {"get", "update", "create", "createDeployment", "getDeployment", "listVariables", "deleteVariable"}
    | {"createVariable", "list", "listDeployments", "getDeploymentDownload"}
)
"""The operations that `push function --with-variables` and `pull function` call."""

_OF_PAGES = frozenset({"createExecution", "getExecution", "listExecutions"})
"""The operations that the web SDK has."""

_OF_CONSOLES = frozenset({"listTemplates", "getTemplate", "listUsage", "getUsage"})
"""The operations that the server SDKs do not have."""

_ELSEWHERE = (
    (
        "No `X-Appwrite-Response-Format`",
        "Answers have the fields of both generations. Parameters of both are accepted.",
    ),
    ("`general_argument_invalid` for execution headers", "The reference answers 500 to malformed headers."),
    ("`?total=false`", "Means false; the reference reads it as true."),
    ("Passwords", "A user's `password` is empty for every caller; the reference shows the hash to keys."),
    (
        "A taken email or phone",
        "A change to a taken email or phone is `user_already_exists` too; the reference has a type for each.",
    ),
    (
        "Invitations to a team",
        "The invited user accepts while signed in; the reference mails a secret."
        " A member added by a key is confirmed at once."
        " Other users see a member's name and email once the invitation is accepted.",
    ),
    (
        "Pages of `localhost`",
        "Are unknown until `localhost` is a web platform of the project; the reference lets them in.",
    ),
    ("Wrong passwords", "Attempts are bounded by account and address (429); the reference counts by address alone."),
    ("Users of the console", "`annals users create-admin` creates them; they are admins of every project."),
    ("Variables of a project", "Reach the next execution. Functions stay `live`, since no new build is needed."),
    ("Executions", "Are stored before they are answered; the reference stores them behind a queue."),
    ("Builds", "A finished build never replaces a newer active deployment."),
    ("Ids, keys and `equal`", "Case counts; the reference's database ignores it."),
    ("Variables", "The next execution has them, with no new deployment."),
    ("204 answers", "Have no `Content-Length`, as HTTP demands (RFC 9110, 8.6); the reference sends 0."),
    (
        "Ephemeral keys",
        "Have only scopes of their creator, end with the key, session or function that created them, and create no"
        " others; those of the reference outlive a deleted key.",
    ),
    (
        "Scopes of functions",
        "A key gives code only scopes that it holds, and changes only code whose scopes it holds (configuration,"
        " deployments, variables, policy, installation). Admins may give any scope. The reference lets a key give any.",
    ),
    (
        "Rules",
        "Map names to functions only. Rules of the API, of sites and redirects are not served."
        " If the instance asks for a TXT record, a domain is verified before its rule is created."
        " The domain need not point to the instance yet.",
    ),
    ("Realtime, download tokens", "Are not served."),
)
"""Differences in behaviour, which no OpenAPI document shows."""


def _words_of(pattern: str, *files: str) -> frozenset[str]:
    """Return the operations of the reference that the named tests call."""
    text = "".join((ROOT / "tests" / "api" / file).read_text() for file in files)
    return frozenset(re.findall(pattern, text))


def _by_sdks() -> frozenset[str]:
    return _words_of(r'\.call\(\s*"(\w+)"', "conftest.py", "test_sdk_functions.py", "test_sdk_executions.py")


def _by_cli() -> frozenset[str]:
    kebab = _words_of(r'"functions",\s*"([a-z-]+)"', "test_stock_cli.py")
    return _BY_PUSHING | {re.sub(r"-(\w)", lambda match: match[1].upper(), word) for word in kebab}


def _operations() -> Iterator[str]:
    served = {(operation.method, operation.path) for operation in ENDPOINTS}
    sdks, cli, web = _by_sdks(), _by_cli(), frozenset(re.findall(r"functions\.(\w+)\(", WEB_PAGE.read_text()))
    heads = [*(f"format {name}" for name in _FORMATS), *(f"`{name}`" for name in (*SDKS, WEB_SDK, CLI))]
    yield f"| operation | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}"
    for route, named in NAMES.items():
        state = "yes" if route in served else "no"
        ran, ran_by_page, ran_by_cli = ("run" if named.word in words else state for words in (sdks, web, cli))
        of_sdks = "–" if named.word in _OF_CONSOLES else ran
        of_page = ran_by_page if named.word in _OF_PAGES else "–"
        states = [state] * len(_FORMATS) + [of_sdks] * len(SDKS) + [of_page, ran_by_cli]
        yield f"| `{named.word}` | {' | '.join(states)} |"


def _differences() -> Iterator[str]:
    yield "| where | formats | why |\n|---|---|---|"
    for reason in REASONS:
        pattern = reason.pattern.replace("|", "\\|")
        yield f"| `{pattern}` | {', '.join(reason.api_versions)} | {reason.why} |"


def _behaviour() -> Iterator[str]:
    yield "| subject | Annals |\n|---|---|"
    yield from (f"| {subject} | {how} |" for subject, how in _ELSEWHERE)


def page() -> str:
    """Return the whole page."""
    return "\n".join(
        [
            "# Compatibility\n",
            "`make docs` makes this page from the code, and a test compares both.\n",
            "## Operations\n",
            "`run`: the tests call it by the stock client, on a whole instance (by the web SDK in a browser,"
            " on a page of another origin). `yes`: it is served, and the tests call it on the wire in every format."
            " `–`: the client does not have it. `no`: it is not served.\n",
            *_operations(),
            "\n## Differences in the OpenAPI documents\n",
            "The table compares `/openapi.json` with the documents of the reference."
            " `ours alone`: the reference does not name it.\n",
            *_differences(),
            "\n## Differences in behaviour\n",
            *_behaviour(),
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page())
