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
from tests.unit.app.openapi.reasons import REASONS

PAGE = ROOT / "docs" / "compatibility.md"
_FORMATS = ("none", "1.8.0", "2.5.0")
_BY_PUSHING = frozenset(
    {"get", "update", "create", "createDeployment", "getDeployment", "listVariables", "deleteVariable"}
    | {"createVariable", "list", "listDeployments", "getDeploymentDownload"}
)
"""What `push function --with-variables` and `pull function` call."""

_OF_PAGES = frozenset({"createExecution", "getExecution", "listExecutions"})
"""What the web SDK knows of the 30 operations."""

_OF_CONSOLES = frozenset({"listTemplates", "getTemplate", "listUsage", "getUsage"})
"""What the server SDKs do not know."""

_ELSEWHERE = (
    (
        "No `X-Appwrite-Response-Format`",
        "Answers hold the fields of both generations, parameters of both are accepted.",
    ),
    ("`general_argument_invalid` for execution headers", "The reference fails with 500 on headers out of form."),
    ("`?total=false`", "Means false; the reference reads it as true."),
    ("Passwords", "A user's `password` is empty for everybody; the reference hands the hash to keys."),
    ("A taken email or phone", "Is `user_already_exists` on changes too; the reference has a type for each."),
    (
        "Invitations to a team",
        "Are accepted in the invited user's session; the reference mails a secret. A key's members are in at once."
        " Other users see a member's name and email once the invitation is accepted.",
    ),
    (
        "Pages of `localhost`",
        "Are unknown until `localhost` is a web platform of the project; the reference lets them in.",
    ),
    ("Wrong passwords", "Slow down who guesses, by account and address (429); the reference counts by address alone."),
    ("Users of the console", "Are made by `annals users create-admin`, and are admins of every project."),
    ("Variables of a project", "Reach the next execution; functions stay `live`, for nothing has to be built anew."),
    ("Executions", "Are stored before they are answered; the reference stores them behind a queue."),
    ("Builds", "A finished build never takes the place of a newer deployment that is active already."),
    ("Ids, keys and `equal`", "Compare with case; the reference's database ignores it."),
    ("Variables", "The next execution has them, with no new deployment."),
    ("204 answers", "Have no `Content-Length`, as HTTP demands (RFC 9110, 8.6); the reference sends 0."),
    (
        "Ephemeral keys",
        "Hold scopes that their maker holds, end with the key, session or function that made them, and make no others;"
        " the reference's outlive a key that is deleted.",
    ),
    (
        "Scopes of functions",
        "A key gives code only scopes that it holds, and changes only code whose scopes it holds (by configuration,"
        " deployments, variables, policy, installation); admins may all. The reference lets a key give any.",
    ),
    (
        "Rules",
        "Map names to functions alone; those of the API, of sites and redirects are not served. A domain is verified"
        " before its rule is made, by a TXT record, where the instance asks for that; it needs not point here yet.",
    ),
    ("Realtime, download tokens", "Are not served."),
)
"""Differences in behaviour, which no document tells."""


def _words_of(pattern: str, *files: str) -> frozenset[str]:
    """What of the reference's words the named tests call."""
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
    yield "| what | how |\n|---|---|"
    yield from (f"| {subject} | {how} |" for subject, how in _ELSEWHERE)


def page() -> str:
    """The whole page as it should be."""
    return "\n".join(
        [
            "# Compatibility\n",
            "Made from the code by `make docs`; a test holds it to that.\n",
            "## Operations\n",
            "`run`: the stock client itself calls it in our tests, against a whole instance (the web SDK in a browser,"
            " on a page of another origin). `yes`: it is served, and tested on the wire in every format,"
            " over a socket against the API's own process."
            " `–`: the client does not know it. `no`: it is not served.\n",
            *_operations(),
            "\n## Differences in the OpenAPI documents\n",
            "`/openapi.json` beside the reference's documents; `ours alone` is what the reference does not name.\n",
            *_differences(),
            "\n## Differences in behaviour\n",
            *_behaviour(),
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page())
