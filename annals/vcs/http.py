"""HTTP to repositories' hosts: bounded waits, and no redirect to another host."""

from typing import Any
from urllib.parse import urlsplit

import urllib3

from annals.vcs.errors import RepositoryError

WAIT_SECONDS = 30.0
_TIMEOUT = urllib3.Timeout(connect=10.0, read=WAIT_SECONDS)


class OneHost(urllib3.PoolManager):
    """Talks to the named hosts, each a `host:port` or host as URLs have it."""

    def __init__(self, *hosts: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(timeout=_TIMEOUT, retries=urllib3.Retry(0, redirect=3), headers=headers)
        self._hosts = frozenset(hosts)

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> Any:  # type: ignore[override]
        """Raises RepositoryError for a redirect elsewhere."""
        if urlsplit(url).netloc not in self._hosts:
            raise RepositoryError(
                "forbidden", "The repository's host redirects to another one. Name the repository's own URL."
            )
        return super().urlopen(method, url, redirect, **kw)
