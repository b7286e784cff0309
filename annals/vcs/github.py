"""A GitHub App's view of a repository: a token for its installation, the repository, a commit and its archive."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import urllib3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from annals.domain.decoding import UNREADABLE
from annals.domain.origin import Origin, ReferenceType
from annals.vcs.addresses import parse
from annals.vcs.archive import Entry, unpack_tarball
from annals.vcs.errors import RepositoryError
from annals.vcs.http import OneHost
from annals.vcs.jobs import Bounds, Git, GitHub, Report
from annals.vcs.references import highest
from annals.vcs.trees import LONGEST_MESSAGE

JWT_SECONDS = 540
ARCHIVE_HOST = "codeload.github.com"
"""Where the public service redirects to for archives."""

CONTEXT = "annals"
"""The name under which a commit's page shows what became of it."""

_LONGEST_DESCRIPTION = 140
_MOST_PAGES = 20
_PAGE = 100
_LONGEST_ANSWER = 8 * 1024 * 1024


def app_token(app_id: str, private_key: str, now: float) -> str:
    """The JWT by which an app says who it is (RS256). Raises RepositoryError for a key that is none of RSA."""
    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise RepositoryError("forbidden", "The GitHub App's private key is no RSA key in PEM.")
    claims = {"iat": int(now) - 60, "exp": int(now) + JWT_SECONDS, "iss": app_id}
    signed = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_text(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Repository:
    """One repository, by the token of the installation that may read it."""

    def __init__(self, place: GitHub, *, now: float, allowed_hosts: tuple[str, ...]) -> None:
        """Signs in and finds the repository. Raises RepositoryError."""
        address = parse(place.api.rstrip("/") + "/app", http_hosts=allowed_hosts)
        if address.scheme == "ssh":
            raise RepositoryError("forbidden", "A GitHub App's API is reached by https.")
        self._api = place.api.rstrip("/")
        self._http = OneHost(urlsplit(self._api).netloc, ARCHIVE_HOST)
        self._token = app_token(place.app_id, place.private_key, now)
        installation = quote(place.installation, safe="")
        answer = self._ask("POST", f"/app/installations/{installation}/access_tokens")
        if answer is None:
            raise RepositoryError("forbidden", "GitHub knows no such installation of the app.")
        self._token = str(answer["token"])
        by_number = place.repository.isdigit()
        found = self._ask("GET", f"/repositories/{place.repository}" if by_number else f"/repos/{place.repository}")
        if found is None:
            raise RepositoryError("repository", f"The installation sees no repository {place.repository}.")
        self.number, self.name = str(found["id"]), str(found["name"])
        self.owner, self.url = str(found["owner"]["login"]), str(found["html_url"])
        self._clone_url = str(found["clone_url"])
        self._path = f"/repos/{quote(self.owner, safe='')}/{quote(self.name, safe='')}"

    def git(self) -> Git:
        """The same repository as git reaches it, by this token. Raises RepositoryError."""
        return Git(url=self._clone_url, web_url=self.url, username="x-access-token", password=self._token)

    def report(self, report: Report) -> None:
        """Show beside a commit what became of it. Raises RepositoryError."""
        body = {"state": report.state, "description": report.description[:_LONGEST_DESCRIPTION], "context": CONTEXT}
        if self._ask("POST", f"{self._path}/statuses/{quote(report.commit, safe='')}", body) is None:
            raise RepositoryError("reference", "GitHub knows no such commit.")

    def find(self, kind: ReferenceType, reference: str, root_directory: str, *, shown: str = "") -> Origin:
        """Where a reference leads; a commit is `shown` by the branch that it was found on. Raises RepositoryError."""
        name, asked = reference, reference
        if kind == "tag":
            name, asked = self._tag(reference)
        elif kind == "branch":
            asked = f"heads/{reference}"
        found = self._ask("GET", f"{self._path}/commits/{quote(asked, safe='/')}")
        if found is None:
            raise RepositoryError("reference", f"The repository has no {kind} {reference!r}.")
        commit, author = found["commit"], found.get("author") or {}
        sha = str(found["sha"])
        shown = (shown or sha) if kind == "commit" else name
        return Origin(
            repository_id=self.number,
            repository_name=self.name,
            repository_owner=self.owner,
            repository_url=self.url,
            branch=shown,
            branch_url=f"{self.url}/tree/{quote(shown, safe='/')}",
            commit_hash=sha,
            commit_message=str(commit["message"])[:LONGEST_MESSAGE],
            commit_url=str(found.get("html_url", "")),
            commit_author=str((commit.get("author") or {}).get("name", "")),
            commit_author_url=str(author.get("html_url", "")),
            root_directory=root_directory,
        )

    def files(self, origin: Origin, bounds: Bounds) -> Iterator[Entry]:
        """Yield the files of the origin's folder at its commit, from the host's archive. Raises RepositoryError."""
        url = f"{self._api}{self._path}/tarball/{origin.commit_hash}"
        with _told():
            answer = self._http.request("GET", url, headers=self._headers(), preload_content=False)
        try:
            if answer.status != 200:
                raise RepositoryError("unreachable", f"GitHub answered {answer.status} to a request for the archive.")
            stream: Any = _Bounded(answer, bounds.transfer_bytes)
            with _told():
                yield from unpack_tarball(stream, origin.root_directory, origin.branch, bounds)
        finally:
            answer.release_conn()

    def _tag(self, reference: str) -> tuple[str, str]:
        """A tag's name and commit."""
        tags: dict[str, str] = {}
        for page in range(1, _MOST_PAGES + 1):
            rows = self._ask("GET", f"{self._path}/tags?per_page={_PAGE}&page={page}") or []
            tags.update((str(row["name"]), str(row["commit"]["sha"])) for row in rows)
            if len(rows) < _PAGE:
                break
        name = highest(reference, tags) if "*" in reference else reference
        if name is None or name not in tags:
            raise RepositoryError("reference", f"The repository has no tag {reference!r}.")
        return name, tags[name]

    def _ask(self, method: str, path: str, sent: dict[str, str] | None = None) -> Any:
        """An answer's JSON; None for what is not there."""
        with _told():
            data = None if sent is None else msgspec.json.encode(sent)
            headers = self._headers()
            answer = self._http.request(method, self._api + path, body=data, headers=headers, preload_content=False)
            body = answer.read(_LONGEST_ANSWER)
            answer.release_conn()
        if answer.status in {404, 422}:
            return None
        if answer.status in {401, 403}:
            raise RepositoryError(
                "forbidden", f"GitHub refused ({answer.status}). Check the app's id, key and installation."
            )
        if answer.status not in {200, 201}:
            raise RepositoryError("unreachable", f"GitHub answered {answer.status}.")
        try:
            return msgspec.json.decode(body)
        except UNREADABLE:
            raise RepositoryError("unreachable", "GitHub's answer is no JSON.") from None

    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "User-Agent": "annals",
            "X-GitHub-Api-Version": "2022-11-28",
        }


class _Bounded:
    """Reads no more of an answer than is allowed."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, most: int) -> None:
        self._answer, self._left, self._most = answer, most, most

    def read(self, size: int = -1) -> bytes:
        data = self._answer.read(size if size > 0 else None)
        self._left -= len(data)
        if self._left < 0:
            raise RepositoryError("too_large", f"The repository's archive is larger than {self._most:,} bytes.")
        return data


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except urllib3.exceptions.HTTPError as error:
        raise RepositoryError("unreachable", f"GitHub cannot be reached: {str(error)[:300]}") from error
    except (KeyError, TypeError) as error:
        raise RepositoryError("unreachable", f"GitHub's answer lacks {error}.") from error


def _part(value: dict[str, Any]) -> str:
    return _text(msgspec.json.encode(value))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
