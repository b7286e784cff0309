"""The files and variables inside a sandbox: arguments for bubblewrap, and the environment."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from annals.executor.toolchains import INSIDE, Toolchain

SERVER = "/usr/local/server"
FUNCTION = "/usr/local/server/src/function"
BUILD = "/usr/local/build"
SOURCE = "/mnt/source"
OUTPUT = "/mnt/code"
CACHE = "/usr/local/cache/build"
SOCKETS = "/run/annals"
INNER_ID = "1000"
ARCHIVE, PACKED = "archive", "/tmp/code.tar.gz"  # noqa: S108 the sandbox's own
"""The path of a packed source: in a build's folder, and inside a sandbox as the contract says."""
SLOT = "code"
"""The folder below an idle instance's folder that its code is linked into if it cannot be mounted."""

ETC_FILES = {
    "passwd": "root:x:0:0::/:/usr/sbin/nologin\nfunction:x:1000:1000::/tmp:/bin/sh\n",
    "group": "root:x:0:\nfunction:x:1000:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}
ETC_SHOWN = (
    *("resolv.conf", "ld.so.cache", "alternatives", "services", "protocols", "mime.types"),
    *("ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "pki/ca-trust/extracted", "crypto-policies"),
)
"""Parts of the host's /etc that programs need to run and to verify certificates; none holds a secret."""

CONTROLLED = (FUNCTION, BUILD, SOURCE, OUTPUT, CACHE, SOCKETS)
"""Folders whose content user code controls: none of our mounts has a destination below them."""

SHOWN_ANYWAY = ("/usr/", "/etc/ssl/certs")
SHOWN_FOLDERS = ("SSL_CERT_DIR", "PIP_FIND_LINKS")

SEALED = ("--remount-ro", "/usr/local", "--remount-ro", "/dev", "--remount-ro", "/")


DEFAULTS = {"HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 the sandbox's own
IDLE = {"ANNALS_SPECIALISE": "1"}
BUILD_PATHS = {"ANNALS_BUILD_INPUT": SOURCE, "ANNALS_BUILD_DIR": BUILD, "ANNALS_BUILD_OUTPUT": OUTPUT}


def write_etc(folder: Path) -> None:
    """Write the sandbox's /etc: our own files, and empty mount points for parts of the host's /etc."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name, text in ETC_FILES.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    for name in ETC_SHOWN:
        host, mount_point = Path("/etc", name), folder / name
        mount_point.parent.mkdir(parents=True, exist_ok=True)
        if host.is_dir():
            mount_point.mkdir(exist_ok=True)
        elif host.exists():
            mount_point.touch()


def root(*, etc: str, server: str, prefix: str, binary: str, tmp_bytes: int, watched: bool = False) -> list[str]:
    """Return the arguments for a minimal root: the host's programs and one runtime, without data of any user.

    If a watchdog limits memory (`watched`), /dev/zero is a device that reads the same and cannot be mapped.
    """
    words = [
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--uid", INNER_ID, "--gid", INNER_ID, "--hostname", "function"),
        *("--die-with-parent", "--new-session", "--clearenv"),
        *("--ro-bind", "/usr", "/usr"),
    ]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        host = Path("/", name)
        if host.is_symlink():
            words += ["--symlink", str(host.readlink()), str(host)]
        elif host.is_dir():
            words += ["--ro-bind", str(host), str(host)]
    words += ["--ro-bind", etc, "/etc"]
    for name in ETC_SHOWN:
        if Path("/etc", name).exists():
            words += ["--ro-bind", os.path.realpath(f"/etc/{name}"), f"/etc/{name}"]
    words += ["--size", str(1024 * 1024), "--tmpfs", "/usr/local", "--ro-bind", server, SERVER]
    if prefix:
        words += ["--ro-bind", prefix, INSIDE]
    else:
        words += ["--symlink", binary, f"{INSIDE}/bin/python3"]
    return [
        *words,
        *("--proc", "/proc", "--dev", "/dev"),
        *(("--dev-bind", "/dev/full", "/dev/zero") if watched else ()),
        *("--perms", "1777", "--size", str(tmp_bytes // 4), "--tmpfs", "/dev/shm"),  # noqa: S108 the sandbox's own
        *("--perms", "1777", "--size", str(tmp_bytes), "--tmpfs", "/tmp"),  # noqa: S108 the sandbox's own
        *("--symlink", "../tmp", "/var/tmp"),  # noqa: S108 the sandbox's own
    ]


def environment(toolchain: Toolchain, user: Mapping[str, str]) -> dict[str, str]:
    """Return the default variables, overridden by the user's; PATH always begins with the interpreter's folder."""
    merged = {**DEFAULTS, **user, **toolchain.variables}
    merged["PATH"] = ":".join(filter(None, (toolchain.path, user.get("PATH"))))
    if toolchain.libraries:
        merged["LD_LIBRARY_PATH"] = ":".join(filter(None, (user.get("LD_LIBRARY_PATH"), toolchain.libraries)))
    return merged


def variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield variables as arguments for bubblewrap's argument file: the host's process list never shows them."""
    for name, value in environment.items():
        if name and "=" not in name and "\0" not in name + value:
            yield from ("--setenv", name, value)


def passed_through(names: Iterable[str], environment: Mapping[str, str]) -> tuple[dict[str, str], list[Path]]:
    """Return the host's variables that builds see, and the files and folders that these variables name."""
    exact = {name for name in names if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    shown = {
        name: value for name, value in environment.items() if name in exact or (prefixes and name.startswith(prefixes))
    }
    files = {Path(value) for name, value in shown.items() if value.startswith("/") and _harmless(name, Path(value))}
    return shown, sorted(files)


def _harmless(name: str, path: Path) -> bool:
    """Return True for a file, or for a folder if the variable names a folder of certificates or packages.

    A path below a folder that user code controls is never shown: user code could redirect the mount.
    """
    if any(path.is_relative_to(folder) for folder in CONTROLLED):
        return False
    return path.is_file() or (name in SHOWN_FOLDERS and path.is_dir())
