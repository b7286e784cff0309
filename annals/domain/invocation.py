"""What the platform adds to a call, keeps of it, and makes of its outcome (http-api.md 7.19, 9.3)."""

from collections.abc import Iterable, Mapping

from annals.domain.execution import Header
from annals.domain.ports import Outcome

KEPT_REQUEST_HEADERS = ("content-type", "agent", "content-length", "host", "x-appwrite-client-ip")
KEPT_RESPONSE_HEADERS = ("content-type", "content-length")
STORED_OUTPUT_CHARACTERS = 1_000_000


def platform_headers(
    *,
    execution_id: str,
    key: str,
    trigger: str,
    event: str = "",
    user_id: str = "",
    user_jwt: str = "",
    client_ip: str = "",
) -> dict[str, str]:
    """Headers laid over the caller's; a value that is unknown is empty, not absent."""
    return {
        "x-appwrite-execution-id": execution_id,
        "x-appwrite-key": key,
        "x-appwrite-trigger": trigger,
        "x-appwrite-event": event,
        "x-appwrite-user-id": user_id,
        "x-appwrite-user-jwt": user_jwt,
        "x-appwrite-country-code": "",
        "x-appwrite-continent-code": "",
        "x-appwrite-continent-eu": "false",
        "x-appwrite-client-ip": client_ip,
    }


def laid_over(caller: Mapping[str, str], platform: Mapping[str, str]) -> list[tuple[str, str]]:
    """The caller's headers, lower-cased, with the platform's winning."""
    return list({**{name.lower(): value for name, value in caller.items()}, **platform}.items())


def kept(headers: Iterable[tuple[str, str]], names: tuple[str, ...]) -> list[Header]:
    """The headers that are stored for display."""
    return [Header(name, value) for name, value in headers if name.lower() in names]


def truncated(text: str, kind: str) -> str:
    """At most 1,000,000 characters, the end kept, told by a first line; `kind` is `Logs` or `Errors`."""
    if len(text) <= STORED_OUTPUT_CHARACTERS:
        return text
    notice = f"[WARNING] {kind} truncated. The output exceeded {STORED_OUTPUT_CHARACTERS} characters.\n"
    return notice + text[len(text) - STORED_OUTPUT_CHARACTERS + len(notice) :]


def succeeded(outcome: Outcome) -> bool:
    """Completed is any answer below 500, a 4xx included."""
    return not outcome.reason and outcome.status_code < 500
