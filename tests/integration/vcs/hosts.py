"""Hosts of repositories on loopback: git over HTTP, git over ssh, and the part of GitHub's API that apps use."""

import io
import json
import socket
import tarfile
import threading
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import paramiko
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from dulwich.objects import Tag
from dulwich.protocol import Protocol
from dulwich.repo import Repo
from dulwich.server import DictBackend, UploadPackHandler
from dulwich.web import make_wsgi_chain

AUTHOR = b"Ada <ada@example.org>"


class Repository:
    """A repository on disk; each commit adds files to those of its parent."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.repo: Any = Repo.init(str(folder))

    def commit(self, files: dict[str, str], message: str = "Change", branch: str = "main") -> str:
        self.repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/" + branch.encode())
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        worktree = self.repo.get_worktree()
        worktree.stage([name.encode() for name in files])
        made: bytes = worktree.commit(message=message.encode(), author=AUTHOR, committer=AUTHOR)
        return made.decode()

    def tag(self, name: str, commit: str, *, annotated: bool = False) -> None:
        sha = commit.encode()
        if annotated:
            tag: Any = Tag()
            tag.name, tag.tagger, tag.message = name.encode(), AUTHOR, b"A version\n"
            tag.tag_time, tag.tag_timezone = 0, 0
            tag.object = (type(self.repo[sha]), sha)
            self.repo.object_store.add_object(tag)
            sha = tag.id
        self.repo.refs[b"refs/tags/" + name.encode()] = sha


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log no request."""


@contextmanager
def http_host(repositories: dict[str, Repository], password: str = "") -> Iterator[str]:
    """Serve git over HTTP, and yield the base URL. With a `password`, other credentials get 401."""
    app = make_wsgi_chain(DictBackend({f"/{name}": repository.repo for name, repository in repositories.items()}))

    def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        given = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Basic ")
        if password and b64decode(given).decode().partition(":")[2] != password:
            start("401 Unauthorized", [("WWW-Authenticate", "Basic")])
            return [b""]
        return app(environ, start)

    server = make_server("127.0.0.1", 0, guarded, handler_class=_Quiet)
    with _serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


class _SshServer(paramiko.ServerInterface):  # type: ignore[misc]
    def __init__(self, backend: DictBackend, key: paramiko.PKey) -> None:
        self._backend, self._key = backend, key

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return 0 if kind == "session" else 1

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return 0 if (username, key) == ("git", self._key) else 2

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._serve, args=(channel, command.decode()), daemon=True).start()
        return True

    def _serve(self, channel: paramiko.Channel, command: str) -> None:
        program, _, path = command.partition(" ")
        assert program == "git-upload-pack"
        reading, writing = channel.makefile("rb", 0), channel.makefile("wb", 0)
        handler = UploadPackHandler(self._backend, [path.strip("'")], Protocol(reading.read, writing.write))
        try:
            handler.handle()
        finally:
            channel.send_exit_status(0)
            channel.close()


@contextmanager
def ssh_host(repositories: dict[str, Repository], key: paramiko.PKey) -> Iterator[tuple[str, str]]:
    """Serve git over ssh for one key, and yield the base URL and the host's line of known_hosts."""
    backend = DictBackend({f"/{name}": repository.repo for name, repository in repositories.items()})
    host_key = paramiko.RSAKey.generate(2048)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(host_key)
            with suppress(paramiko.SSHException, OSError, EOFError):  # a client without the host key disconnects
                transport.start_server(server=_SshServer(backend, key))

    threading.Thread(target=serve, daemon=True).start()
    try:
        line = f"[127.0.0.1]:{port} {host_key.get_name()} {host_key.get_base64()}"
        yield f"ssh://git@127.0.0.1:{port}", line
    finally:
        listening.close()


class GitHub:
    """Serves one repository to installation 9 of app 7; records the commits' `statuses`."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.clone_url = "https://github.test/team/app.git"
        self.statuses: list[tuple[str, str]] = []
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[str]:
        github = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply()

            def do_POST(self) -> None:
                self._reply()

            def _reply(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, body = github.answer(self.path, self.headers.get("Authorization", ""), sent)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Log no request."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        with _serving(server):
            self.url = f"http://127.0.0.1:{server.server_port}"
            yield self.url

    def answer(self, path: str, authorization: str, sent: bytes = b"") -> tuple[int, Any]:
        if path == "/app/installations/9/access_tokens":
            return (201, {"token": "t0ken"}) if self._is_the_app(authorization) else (401, {})
        if path.startswith("/app/installations/"):
            return 404, {}
        if authorization != "Bearer t0ken":
            return 401, {}
        if path in {"/repositories/42", "/repos/team/app"}:
            owner = {"login": "team"}
            page = "https://github.test/team/app"
            return 200, {"id": 42, "name": "app", "owner": owner, "html_url": page, "clone_url": self.clone_url}
        if path.startswith("/repos/team/app/statuses/"):
            self.statuses.append((path.rpartition("/")[2], json.loads(sent)["state"]))
            return 201, {}
        if path.startswith("/repos/team/app/commits/"):
            return self._commit(path.removeprefix("/repos/team/app/commits/"))
        if path.startswith("/repos/team/app/tags"):
            tags = self.repository.repo.refs.as_dict(b"refs/tags")
            return 200, [{"name": name.decode(), "commit": {"sha": sha.decode()}} for name, sha in tags.items()]
        if path.startswith("/repos/team/app/tarball/"):
            return 200, self._tarball()
        return 404, {}

    def _is_the_app(self, authorization: str) -> bool:
        head, claims, signature = authorization.removeprefix("Bearer ").split(".")
        decoded = json.loads(_unpadded(claims))
        self.key.public_key().verify(
            _unpadded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        return bool(decoded["iss"] == "7" and 0 < decoded["exp"] - decoded["iat"] <= 660)

    def _commit(self, reference: str) -> tuple[int, Any]:
        repo = self.repository.repo
        name = reference.removeprefix("heads/").encode()
        try:
            commit = repo[repo.refs[b"refs/heads/" + name] if reference.startswith("heads/") else name]
        except KeyError:
            return 422, {}
        sha = commit.id.decode()
        return 200, {
            "sha": sha,
            "html_url": f"https://github.test/team/app/commit/{sha}",
            "commit": {"message": commit.message.decode(), "author": {"name": "Ada"}},
            "author": {"html_url": "https://github.test/ada"},
        }

    def _tarball(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for path in sorted(self.repository.folder.rglob("*")):
                if ".git" not in path.parts:
                    tar.add(path, f"team-app-0123/{path.relative_to(self.repository.folder)}", recursive=False)
        return buffer.getvalue()


def _unpadded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@contextmanager
def _serving(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
