"""A driver of one Python SDK: it calls the SDK for each JSON line of its input, and prints one JSON line each."""

import importlib
import json
import re
import sys
from enum import Enum
from typing import Any


def main() -> None:
    """Run calls. `argv`: folder, endpoint, project, kind of credential (key, session, jwt or none), credential."""
    folder, endpoint, project, kind, credential = sys.argv[1:]
    sys.path.insert(0, folder)
    client: Any = importlib.import_module("appwrite.client").Client()
    client.set_endpoint(endpoint).set_project(project)
    if kind != "none":
        getattr(client, f"set_{kind}")(credential)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            service, _, name = call["method"].rpartition(".")
            method = getattr(of(client, service or "functions"), snake(name))
            answer = {
                "value": plain(method(**{snake(name): to_argument(value) for name, value in call["sent"].items()}))
            }
        except Exception as error:  # the test decides whether the error is expected
            answer = {
                "error": str(error),
                "code": getattr(error, "code", None),
                "type": getattr(error, "type", type(error).__name__),
            }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def of(client: Any, service: str) -> Any:
    return getattr(importlib.import_module(f"appwrite.services.{service}"), service.title())(client)


def snake(name: str) -> str:
    return "xasync" if name == "async" else re.sub(r"JWT|[A-Z]", lambda upper: f"_{upper[0].lower()}", name)


def to_argument(value: Any) -> Any:
    """Return an upload for a path in `$file`, and any other value as it is."""
    if isinstance(value, dict) and "$file" in value:
        return importlib.import_module("appwrite.input_file").InputFile.from_path(value["$file"])
    return value


def plain(value: Any) -> Any:
    """Return a value that JSON can encode: models as dicts, bytes as hex."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


main()
