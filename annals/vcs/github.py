"""A client of GitHub's API for apps: installation token, repository, commits, archives, statuses."""

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
from annals.vcs.archive import SourceFile, unpack_tarball
from annals.vcs.commits import LONGEST_MESSAGE
from annals.vcs.errors import RepositoryError
from annals.vcs.guard import OneHost
from annals.vcs.jobs import FetchBounds, Git, GitHub, Report
from annals.vcs.references import highest_version
from annals.vcs.urls import parse_url

JWT_SECONDS = 540
ARCHIVE_HOST = "codeload.github.com"
"""The host to which github.com redirects archive downloads."""

CONTEXT = "annals"
"""The name of our status on a commit's page."""

_LONGEST_DESCRIPTION = 140
_MOST_PAGES = 20
_PAGE = 100
_LONGEST_ANSWER = 8 * 1024 * 1024


def app_token(app_id: str, private_key: str, now: float) -> str:
    """Return the JWT (RS256) that identifies an app. Raises RepositoryError for a key that is not RSA."""
    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise RepositoryError("forbidden", "The GitHub App's private key must be an RSA key in PEM.")
    claims = {"iat": int(now) - 60, "exp": int(now) + JWT_SECONDS, "iss": app_id}
    signed = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_text(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class GitHubRepository:
    """One repository, read by the token of an installation."""

    def __init__(self, location: GitHub, *, now: float, allowed_hosts: tuple[str, ...]) -> None:
        """Sign in and find the repository. Raises RepositoryError."""
        address = parse_url(location.api.rstrip("/") + "/app", http_hosts=allowed_hosts)
        if address.scheme == "ssh":
            raise RepositoryError("forbidden", "The URL of a GitHub App's API begins with https.")
        self._api = location.api.rstrip("/")
        self._http = OneHost(urlsplit(self._api).netloc, ARCHIVE_HOST)
        self._token = app_token(location.app_id, location.private_key, now)
        installation = quote(location.installation, safe="")
        answer = self._ask("POST", f"/app/installations/{installation}/access_tokens")
        if answer is None:
            raise RepositoryError("forbidden", "GitHub has no such installation of the app. Check its id.")
        self._token = str(answer["token"])
        by_number = location.repository.isdigit()
        found = self._ask(
            "GET", f"/repositories/{location.repository}" if by_number else f"/repos/{location.repository}"
        )
        if found is None:
            raise RepositoryError("repository", f"The installation sees no repository {location.repository}.")
        self.number = str(found["id"])
        self.name = str(found["name"])
        self.owner = str(found["owner"]["login"])
        self.url = str(found["html_url"])
        self._clone_url = str(found["clone_url"])
        self._path = f"/repos/{quote(self.owner, safe='')}/{quote(self.name, safe='')}"

    def git(self) -> Git:
        """Return the repository's git location, with this token as the password."""
        return Git(url=self._clone_url, web_url=self.url, username="x-access-token", password=self._token)

    def report(self, report: Report) -> None:
        """Set our status of a commit. Raises RepositoryError."""
        body = {"state": report.state, "description": report.description[:_LONGEST_DESCRIPTION], "context": CONTEXT}
        if self._ask("POST", f"{self._path}/statuses/{quote(report.commit, safe='')}", body) is None:
            raise RepositoryError("reference", "GitHub has no such commit.")

    def find(self, kind: ReferenceType, reference: str, root_directory: str, *, shown: str = "") -> Origin:
        """Return the origin of a reference; `shown` is the branch to show for a commit. Raises RepositoryError."""
        name = path = reference
        if kind == "tag":
            name, path = self._tag(reference)
        elif kind == "branch":
            path = f"heads/{reference}"
        found = self._ask("GET", f"{self._path}/commits/{quote(path, safe='/')}")
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

    def files(self, origin: Origin, bounds: FetchBounds) -> Iterator[SourceFile]:
        """Yield the files of the origin's folder at its commit, from the host's archive. Raises RepositoryError."""
        url = f"{self._api}{self._path}/tarball/{origin.commit_hash}"
        with _github_errors():
            answer = self._http.request("GET", url, headers=self._headers(), preload_content=False)
        try:
            if answer.status != 200:
                raise RepositoryError("unreachable", f"GitHub answered {answer.status} to a request for the archive.")
            stream: Any = _Bounded(answer, bounds.transfer_bytes)
            with _github_errors():
                yield from unpack_tarball(stream, origin.root_directory, origin.branch, bounds)
        finally:
            answer.release_conn()

    def _tag(self, reference: str) -> tuple[str, str]:
        """Return a tag's name and commit. Raises RepositoryError."""
        tags: dict[str, str] = {}
        for page in range(1, _MOST_PAGES + 1):
            rows = self._ask("GET", f"{self._path}/tags?per_page={_PAGE}&page={page}") or []
            tags.update((str(row["name"]), str(row["commit"]["sha"])) for row in rows)
            if len(rows) < _PAGE:
                break
        name = highest_version(reference, tags) if "*" in reference else reference
        if name is None or name not in tags:
            raise RepositoryError("reference", f"The repository has no tag {reference!r}.")
        return name, tags[name]

    def _ask(self, method: str, path: str, sent: dict[str, str] | None = None) -> Any:
        """Return an answer's JSON; None if GitHub answers 404 or 422. Raises RepositoryError."""
        with _github_errors():
            data = None if sent is None else msgspec.json.encode(sent)
            headers = self._headers()
            answer = self._http.request(method, self._api + path, body=data, headers=headers, preload_content=False)
            body = answer.read(_LONGEST_ANSWER)
            answer.release_conn()
        if answer.status in {404, 422}:
            return None
        if answer.status in {401, 403}:
            raise RepositoryError(
                "forbidden", f"GitHub denied access ({answer.status}). Check the app's id, key and installation."
            )
        if answer.status not in {200, 201}:
            raise RepositoryError("unreachable", f"GitHub answered {answer.status}.")
        try:
            return msgspec.json.decode(body)
        except UNREADABLE:
            raise RepositoryError("unreachable", "GitHub's answer is not JSON.") from None

    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "User-Agent": "annals",
            "X-GitHub-Api-Version": "2022-11-28",
        }


class _Bounded:
    """Reads an answer; raises RepositoryError beyond a number of bytes."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, most: int) -> None:
        self._answer, self._left, self._most = answer, most, most

    def read(self, size: int = -1) -> bytes:
        data = self._answer.read(size if size > 0 else None)
        self._left -= len(data)
        if self._left < 0:
            raise RepositoryError("too_large", f"The repository's archive is larger than {self._most:,} bytes.")
        return data


@contextmanager
def _github_errors() -> Iterator[None]:
    """Turn exceptions of the HTTP client and of missing fields into RepositoryError."""
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
