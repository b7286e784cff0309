"""Settings from the environment: of this process (`ANNALS_*`) and of its deployment (`OPEN_RUNTIMES_*`)."""

from __future__ import annotations

import json
import os
import shlex
import site
import sys
import time
from typing import Any

DEFAULT_CODE = "/usr/local/server/src/function"


class Wiring:
    """Settings of the process, removed from the environment so that user code never sees them."""

    def __init__(self) -> None:
        self.code = os.environ.pop("ANNALS_CODE", DEFAULT_CODE)
        self.listen = os.environ.pop("ANNALS_LISTEN", "tcp:0.0.0.0:3000")
        self.logs = os.environ.pop("ANNALS_LOGS", "files")
        self.log_limit = int(os.environ.pop("ANNALS_LOG_LIMIT", "0"))
        self.logs_dir = os.environ.pop("ANNALS_LOGS_DIR", "/mnt/logs")
        self.telemetry = os.environ.pop("ANNALS_TELEMETRY", "/mnt/telemetry")
        self.generic = os.environ.pop("ANNALS_SPECIALISE", "") == "1"
        self.static = os.environ.pop("ANNALS_STATIC", "") == "1"


class Deployment:
    """Settings of the deployment, read from the environment once."""

    def __init__(self, code: str) -> None:
        self.code = code
        os.environ.update(built_settings(code))
        self.entrypoint = os.environ.get("OPEN_RUNTIMES_ENTRYPOINT") or "main.py"
        self.secret = os.environ.get("OPEN_RUNTIMES_SECRET", "").encode()
        self.development = os.environ.get("OPEN_RUNTIMES_ENV") == "development"
        self.enforced = enforced_headers(os.environ.get("OPEN_RUNTIMES_HEADERS", ""))
        time.tzset()  # TZ may have come with the deployment's variables
        use_environment(code)


def enforced_headers(text: str) -> dict[str, str]:
    """Return the headers that override those of every request; none unless the variable is a JSON object."""
    try:
        pairs = json.loads(text or "{}")
    except ValueError:
        return {}
    if not isinstance(pairs, dict):
        return {}
    return {name.lower(): as_text(value) for name, value in pairs.items()}


def as_text(value: Any) -> str:
    """Return a header's value as text; other types are written as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def built_settings(code: str) -> dict[str, str]:
    """Return the settings that the build wrote beside the code as shell lines; they override the container's."""
    try:
        with open(os.path.join(code, ".open-runtimes"), encoding="utf-8") as file:
            words = shlex.split(file.read(), comments=True)
    except (OSError, ValueError):
        return {}
    pairs = (word.partition("=") for word in words)
    return {name: value for name, _, value in pairs if name.startswith("OPEN_RUNTIMES_") and value}


def use_environment(code: str) -> None:
    """Put packages that the build installed before the interpreter's own on the path."""
    root = os.path.join(code, "runtime-env")
    packages = os.path.join(root, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    if not os.path.isdir(packages):
        return
    known = len(sys.path)
    site.addsitedir(packages)
    added = sys.path[known:]
    del sys.path[known:]
    sys.path[1:1] = added  # after the server's own folder, which holds one package and the function
    os.environ["VIRTUAL_ENV"] = root
    os.environ["PATH"] = os.path.join(root, "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
