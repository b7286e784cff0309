"""git over ssh without the ssh program: paramiko runs in this process, where connections are guarded."""

import io
from collections.abc import Callable

import paramiko
from dulwich.client import SSHVendor, SubprocessWrapper

from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Git

_KEYS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


class SSHChannel:
    """An ssh channel with the interface of dulwich's subprocess."""

    def __init__(self, client: paramiko.SSHClient, channel: paramiko.Channel) -> None:
        self._client, self._channel = client, channel
        self.read: Callable[[int], bytes] = channel.makefile("rb", 0).read
        self.stderr = None

    def write(self, data: bytes) -> int:
        self._channel.sendall(data)
        return len(data)

    def can_read(self) -> bool:
        return bool(self._channel.recv_ready())

    def close(self) -> None:
        self._channel.close()
        self._client.close()


class GuardedVendor(SSHVendor):
    """Connects to hosts with a known key, by the private key or password of the location."""

    def __init__(self, location: Git, *, timeout: float) -> None:
        self._location, self._timeout = location, timeout

    def run_command(  # type: ignore[override]
        self, host: str, command: bytes, *, username: str | None = None, port: int | None = None, **_: object
    ) -> SubprocessWrapper:
        location = self._location
        client = paramiko.SSHClient()
        self._add_host_keys(client, host, port or 22)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            client.connect(
                host,
                port=port or 22,
                username=username or location.username or "git",
                password=location.password or None,
                pkey=private_key(location.private_key) if location.private_key else None,
                allow_agent=False,
                look_for_keys=location.trusted,
                timeout=self._timeout,
                banner_timeout=self._timeout,
                auth_timeout=self._timeout,
            )
            transport = client.get_transport()
            if transport is None:
                raise RepositoryError("unreachable", "The ssh host closed the connection. Try again.")
            channel = transport.open_session(timeout=self._timeout)
            channel.settimeout(self._timeout)
            channel.exec_command(command.decode())  # nosec B601
        except paramiko.BadHostKeyException:
            raise RepositoryError(
                "unreachable", f"The key of the host {host} differs from its known_hosts line."
            ) from None
        except paramiko.SSHException as error:
            raise RepositoryError("unreachable", f"The ssh connection to {host} failed: {error}") from error
        return SSHChannel(client, channel)  # type: ignore[return-value]

    def _add_host_keys(self, client: paramiko.SSHClient, host: str, port: int) -> None:
        if self._location.trusted:
            client.load_system_host_keys()
        keys = client.get_host_keys()
        for line in self._location.known_hosts.splitlines():
            try:
                entry = paramiko.hostkeys.HostKeyEntry.from_line(line)
            except (paramiko.SSHException, ValueError):
                entry = None
            if entry is not None and entry.key is not None:
                for name in entry.hostnames or ():
                    keys.add(name, entry.key.get_name(), entry.key)
        if not self._location.trusted and keys.lookup(host if port == 22 else f"[{host}]:{port}") is None:
            raise RepositoryError(
                "unreachable", f"The host {host} has no known key. Add its line of a known_hosts file."
            )


def private_key(text: str) -> paramiko.PKey:
    """Return a private key from its OpenSSH or PEM text, without a passphrase. Raises RepositoryError."""
    for kind in _KEYS:
        try:
            return kind.from_private_key(io.StringIO(text))
        except (paramiko.SSHException, ValueError, IndexError):
            continue
    raise RepositoryError("forbidden", "The ssh key cannot be read. Send a private key without a passphrase.")
