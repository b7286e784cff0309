"""Connection strings, in every form that libpq takes: a URL or keywords, of one host or several."""

from typing import NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from annals.store.errors import UrlInvalid

PORT = 5432
SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret"})

_NAMES = ("host", "hostaddr")
_HIDDEN = "…"


class Host(NamedTuple):
    """The address of a server: a name, an IP address, or the folder of its socket."""

    name: str
    port: int


def conninfo(url: str, name: str, *, statement_seconds: int = 0) -> str:
    """Return a connection string with the settings of all our connections: UTC, a name, and a limit to connect.

    Of several hosts the writable one is chosen, unless the string says otherwise. Postgres ends the statements of a
    dead process, and with `statement_seconds` each statement that takes longer. Raises UrlInvalid.
    """
    given = _parsed(url)
    options = f"{given.pop('options', '')} -c TimeZone=UTC -c client_connection_check_interval=1s".strip()
    if statement_seconds:
        options += f" -c statement_timeout={statement_seconds}s"
    given.setdefault("connect_timeout", "2")
    if any("," in given.get(key, "") for key in _NAMES):
        given.setdefault("target_session_attrs", "read-write")
    return make_conninfo("", **{**given, "application_name": name, "options": options})


def hosts(url: str) -> list[Host]:
    """Return every server that a connection string names. Raises UrlInvalid."""
    given = _parsed(url)
    ports = given.get("port", "").split(",")
    found = []
    for key in _NAMES:
        for number, name in enumerate(given[key].split(",") if key in given else ()):
            port = ports[0] if len(ports) == 1 else ports[number]
            found.append(Host(name, int(port or PORT)))
    return [host for host in found if host.name]


def without_secrets(url: str) -> str:
    """Return a connection string for display; a URL without secrets is unchanged."""
    try:
        given = _parsed(url)
    except UrlInvalid:
        return _HIDDEN
    secret = SECRETS & given.keys()
    if not secret:
        return url
    scheme, mark, rest = url.partition("://")
    behind = rest.rpartition("@")[2]
    if mark and not SECRETS & _parsed(f"{scheme}://{behind}").keys():
        return f"{scheme}://{_HIDDEN}@{behind}"
    return make_conninfo("", **{**given, **dict.fromkeys(secret, _HIDDEN)})


def _parsed(url: str) -> dict[str, str]:
    """Return the keywords of a string. Raises UrlInvalid without the string, which may hold a password."""
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(url).items()}
        ports = [int(port or PORT) for port in given.get("port", "").split(",")]
    except (psycopg.ProgrammingError, ValueError):
        raise UrlInvalid from None
    names = [len(given[key].split(",")) for key in _NAMES if key in given]
    if not all(0 < port < 65_536 for port in ports) or (len(ports) > 1 and any(n != len(ports) for n in names)):
        raise UrlInvalid
    return given
