"""Headers that the platform adds to a call, and the parts of a call that it stores (http-api.md 7.19, 9.3)."""

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
    """Return the platform's headers; an unknown value is empty, not absent."""
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


def merged_headers(caller: Mapping[str, str], platform: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the caller's headers in lower case, overridden by the platform's."""
    return list({**{name.lower(): value for name, value in caller.items()}, **platform}.items())


def stored_headers(headers: Iterable[tuple[str, str]], names: tuple[str, ...]) -> list[Header]:
    """Return the headers to store for display."""
    return [Header(name, value) for name, value in headers if name.lower() in names]


def truncated(text: str, kind: str) -> str:
    """Return at most the last 1,000,000 characters, after a line that says so. `kind` is `Logs` or `Errors`."""
    if len(text) <= STORED_OUTPUT_CHARACTERS:
        return text
    notice = f"[WARNING] {kind} truncated. The output exceeded {STORED_OUTPUT_CHARACTERS} characters.\n"
    return notice + text[len(text) - STORED_OUTPUT_CHARACTERS + len(notice) :]


def succeeded(outcome: Outcome) -> bool:
    """Return True for any answer below 500, including 4xx."""
    return not outcome.reason and outcome.status_code < 500
