"""What a sandbox sees: the words for bubblewrap, and the environment that goes with them."""

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
"""A source that is still packed: in a build's folder, and where the contract has it."""
SLOT = "code"
"""In the folder of an instance that started idle: where its code is linked to, when it cannot be mounted."""

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
"""Parts of the host's /etc that programs need to run and to trust certificates; none holds a secret."""

CONTROLLED = (FUNCTION, BUILD, SOURCE, OUTPUT, CACHE, SOCKETS)
"""Places whose content user code decides: no mount of ours has a destination below one."""

SHOWN_ANYWAY = ("/usr/", "/etc/ssl/certs")
SHOWN_FOLDERS = ("SSL_CERT_DIR", "PIP_FIND_LINKS")

SEALED = ("--remount-ro", "/usr/local", "--remount-ro", "/dev", "--remount-ro", "/")


DEFAULTS = {"HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 the sandbox's own
IDLE = {"ANNALS_SPECIALISE": "1"}
BUILD_PLACES = {"ANNALS_BUILD_INPUT": SOURCE, "ANNALS_BUILD_DIR": BUILD, "ANNALS_BUILD_OUTPUT": OUTPUT}


def write_etc(folder: Path) -> None:
    """The sandbox's /etc: files of our own, and empty places to show parts of the host's on."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name, text in ETC_FILES.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    for name in ETC_SHOWN:
        host, place = Path("/etc", name), folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if host.is_dir():
            place.mkdir(exist_ok=True)
        elif host.exists():
            place.touch()


def root(*, etc: str, server: str, prefix: str, binary: str, tmp_bytes: int, watched: bool = False) -> list[str]:
    """A minimal root of the host's programs, one runtime, and nothing that belongs to anybody.

    Where memory is `watched` from outside, /dev/zero is a device that reads alike and cannot be mapped.
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


def environment(toolchain: Toolchain, given: Mapping[str, str]) -> dict[str, str]:
    """The user's variables over the usual ones; the interpreter stays reachable whatever they say."""
    merged = {**DEFAULTS, **given, **toolchain.variables}
    merged["PATH"] = ":".join(filter(None, (toolchain.path, given.get("PATH"))))
    if toolchain.libraries:
        merged["LD_LIBRARY_PATH"] = ":".join(filter(None, (given.get("LD_LIBRARY_PATH"), toolchain.libraries)))
    return merged


def variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables as words for bubblewrap, which reads them from memory: the host's process list never shows them."""
    for name, value in environment.items():
        if name and "=" not in name and "\0" not in name + value:
            yield from ("--setenv", name, value)


def passed_through(names: Iterable[str], environment: Mapping[str, str]) -> tuple[dict[str, str], list[Path]]:
    """The host's variables that builds see, and the files and folders they name that need showing."""
    exact = {name for name in names if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    shown = {
        name: value for name, value in environment.items() if name in exact or (prefixes and name.startswith(prefixes))
    }
    files = {Path(value) for name, value in shown.items() if value.startswith("/") and _harmless(name, Path(value))}
    return shown, sorted(files)


def _harmless(name: str, path: Path) -> bool:
    """Return True for a file, or under names that mean certificates or packages a folder.

    None is shown below a place whose content user code decides: what user code left there could lead the mount astray.
    """
    if any(path.is_relative_to(place) for place in CONTROLLED):
        return False
    return path.is_file() or (name in SHOWN_FOLDERS and path.is_dir())
