"""Which URLs name a repository. What is not plainly one is refused: none of it can be an option or a command."""

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from annals.vcs.errors import RepositoryError

PORTS = {"https": 443, "http": 80, "ssh": 22}
MOST_CHARACTERS = 2048
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~+@=%-]+)+/?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class Address(NamedTuple):
    """A repository's URL in parts; `path` begins with a slash. A `file` has no host."""

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


def parse(url: str, *, trusted: bool = False, http_hosts: tuple[str, ...] = ()) -> Address:
    """An address of a repository: `https:` or `ssh:`, also `http:` where allowed, and `file:` for a trusted one.

    Raises RepositoryError for everything else, a password in it included.
    """
    if len(url) > MOST_CHARACTERS or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise RepositoryError("forbidden", "The repository's URL holds characters that no URL has, or too many.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RepositoryError("forbidden", "The repository's URL cannot be read.") from None
    host = parts.hostname or ""
    allowed = {"https", "ssh"}
    if trusted:
        allowed |= {"file", "http"}
    elif "*" in http_hosts or host in http_hosts:
        allowed.add("http")
    if parts.scheme not in allowed or not url.startswith(f"{parts.scheme}://"):
        raise RepositoryError(
            "forbidden", f"A repository's URL begins with one of {', '.join(sorted(allowed))}, then ://."
        )
    if parts.query or parts.fragment or parts.password is not None:
        raise RepositoryError("forbidden", "A repository's URL holds neither a password nor anything behind its path.")
    if parts.scheme == "file":
        if host or parts.username is not None:
            raise RepositoryError("forbidden", "A file URL has three slashes: file:///folder.")
        return Address("file", "", 0, "", unquote(parts.path))
    shown = f"[{host}]" if ":" in host else host
    if not _HOST.fullmatch(shown) or not _PATH.fullmatch(parts.path) or ".." in parts.path.split("/"):
        raise RepositoryError("forbidden", "The repository's URL has no host or no path that a repository could have.")
    user = parts.username or ""
    if user and (parts.scheme != "ssh" or not _USER.fullmatch(user)):
        raise RepositoryError("forbidden", "Only an ssh URL names a user, by letters, digits, dots and dashes.")
    return Address(parts.scheme, host, port or PORTS[parts.scheme], user, parts.path)


def is_repository(name: str) -> bool:
    """Whether a text can name a repository below a base: path segments, none of which begins with a dot or dash."""
    return len(name) <= 256 and _REPOSITORY.fullmatch(name) is not None
