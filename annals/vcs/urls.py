"""URLs of repositories: one validator for each scheme. No accepted URL can be read as an option or a command."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from annals.vcs.errors import RepositoryError

PORTS = {"https": 443, "http": 80, "ssh": 22}
MOST_CHARACTERS = 2048
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~+@=%-]+)+/?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class RepositoryUrl(NamedTuple):
    """A repository's URL in parts; `path` begins with a slash. A `file` URL has no host."""

    scheme: str
    host: str
    port: int
    user: str
    path: str

    @property
    def base(self) -> str:
        """The URL without path, user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def parse_url(url: str, *, trusted: bool = False, http_hosts: tuple[str, ...] = ()) -> RepositoryUrl:
    """Return the parts of a repository's URL: `https:` or `ssh:`, `http:` of `http_hosts`, any scheme if `trusted`.

    Raises RepositoryError for every other URL, and for a URL with a password.
    """
    if len(url) > MOST_CHARACTERS or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise RepositoryError("forbidden", "The repository's URL is too long, or holds characters that no URL has.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RepositoryError("forbidden", "The repository's URL cannot be read.") from None
    allowed = {"https", "ssh"}
    if trusted:
        allowed |= {"file", "http"}
    elif "*" in http_hosts or (parts.hostname or "") in http_hosts:
        allowed.add("http")
    if parts.scheme not in allowed or not url.startswith(f"{parts.scheme}://"):
        raise RepositoryError(
            "forbidden", f"A repository's URL begins with one of {', '.join(sorted(allowed))}, then ://."
        )
    if parts.query or parts.fragment or parts.password is not None:
        raise RepositoryError("forbidden", "A repository's URL holds neither a password nor anything behind its path.")
    return _VALIDATORS[parts.scheme](parts, port)


def is_repository(name: str) -> bool:
    """Return True for a repository's name below a host: path segments that begin with a letter, digit or underscore."""
    return len(name) <= 256 and _REPOSITORY.fullmatch(name) is not None


def _file(parts: SplitResult, _port: int | None) -> RepositoryUrl:
    if parts.hostname or parts.username is not None:
        raise RepositoryError("forbidden", "A file URL has three slashes: file:///folder.")
    return RepositoryUrl("file", "", 0, "", unquote(parts.path))


def _http(parts: SplitResult, port: int | None) -> RepositoryUrl:
    host = _valid_host(parts)
    if parts.username:
        raise RepositoryError("forbidden", "Only an ssh URL names a user, by letters, digits, dots and dashes.")
    return RepositoryUrl(parts.scheme, host, port or PORTS[parts.scheme], "", parts.path)


def _ssh(parts: SplitResult, port: int | None) -> RepositoryUrl:
    host = _valid_host(parts)
    user = parts.username or ""
    if user and not _USER.fullmatch(user):
        raise RepositoryError("forbidden", "Only an ssh URL names a user, by letters, digits, dots and dashes.")
    return RepositoryUrl("ssh", host, port or PORTS["ssh"], user, parts.path)


def _valid_host(parts: SplitResult) -> str:
    """Return the host of a URL whose host and path a repository can have. Raises RepositoryError."""
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    if not _HOST.fullmatch(shown) or not _PATH.fullmatch(parts.path) or ".." in parts.path.split("/"):
        raise RepositoryError("forbidden", "The repository's URL has no host or no path that a repository could have.")
    return host


_VALIDATORS: Mapping[str, Callable[[SplitResult, int | None], RepositoryUrl]] = {
    "file": _file,
    "http": _http,
    "https": _http,
    "ssh": _ssh,
}
