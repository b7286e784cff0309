"""The page of the HTTP API, made from the OpenAPI document (`make docs`)."""

import json
import re
from collections.abc import Iterator
from typing import Any

from annals.domain.version import API_VERSION
from tests.architecture.source import ROOT
from tests.unit.app.openapi.comparison import ours

PAGE = ROOT / "docs" / "http-api.md"

_HEAD = """# HTTP API

Made from the OpenAPI document by `make docs`; a test holds it to that. An instance serves the document at
`/openapi.json`, and a page to try it at `/docs`.

- All paths begin with the endpoint, which ends in `/v1`: `http://localhost:8090/v1` for example.
- `X-Appwrite-Project` names the project, and `X-Appwrite-Key` holds an API key. Users send a session or a JWT.
- A caller needs one of the scopes that an operation lists. `public` operations need no credential.
- `X-Appwrite-Response-Format` chooses the API version. This page shows {version};
  [Compatibility](compatibility.md) has the others.
- Every write accepts `?dryRun=true`: the answer lists the events that it would record, and nothing is recorded.
- Errors have one shape: `message`, `code`, `type`, `version`. [Errors](errors.md) lists every type with its next step.

The examples use the shell variables of `eval "$(annals env)"`.
"""

_EXAMPLES: dict[str, Any] = {
    "cron": "0 * * * *",
    "commands": "npm ci",
    "deploymentId": "674f1e0a0031b5c2a7d4",
    "email": "ann@example.com",
    "entrypoint": "index.js",
    "functionId": "thumbnails",
    "key": "BUCKET",
    "name": "Thumbnails",
    "password": "correct-horse-battery",
    "projectId": "shop",
    "runtime": "node-24",
    "teamId": "editors",
    "url": "https://example.com",
    "userId": "ann",
    "value": "images",
}


def page() -> str:
    """Return the page as it should be."""
    document = ours(API_VERSION)
    operations: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operations.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    sections = [_HEAD.format(version=API_VERSION)]
    for service in sorted(operations):
        sections.append(f"## {service}\n")
        sections += ["\n".join(_section(*found)) for found in sorted(operations[service], key=_order)]
    return "\n".join(sections)


def _order(found: tuple[str, str, dict[str, Any]]) -> tuple[str, int]:
    method, path, _ = found
    return path, ("POST", "GET", "PUT", "PATCH", "DELETE").index(method)


def _section(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {operation['summary']}: {method} {path}\n"
    yield f"{operation['description']}\n"
    scopes = ", ".join(f"`{scope}`" for scope in operation["x-annals"]["scopes"])
    yield f"Scope: {scopes or 'none'}. {_answer(operation['responses'])}\n"
    parameters = [*_parameters(operation)]
    if parameters:
        yield "| parameter | in | type | default |\n|---|---|---|---|"
        yield from (f"| `{name}` | {within} | {kind} | {default} |" for name, within, kind, default in parameters)
        yield ""
    yield f"```text\n{_example(method, path, operation)}\n```\n"


def _answer(responses: dict[str, Any]) -> str:
    status, response = next(iter(responses.items()))
    content = response.get("content", {}).get("application/json", {}).get("schema", {})
    reference = content.get("$ref") or next((s["$ref"] for s in content.get("anyOf", ()) if "$ref" in s), "")
    model = f" with a `{reference.rpartition('/')[2]}`" if reference else ""
    return "Answers with a status of 2xx." if status == "2XX" else f"Answers {status}{model}."


def _body(operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    content = operation.get("requestBody", {}).get("content", {})
    for form, media in content.items():
        return form, media["schema"]
    return "", {}


def _parameters(operation: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] != "dryRun":
            schema = parameter["schema"]
            yield parameter["name"], parameter["in"], _kind(schema), _default(schema, parameter["required"])
    form, schema = _body(operation)
    for name, field in schema.get("properties", {}).items():
        within = "form" if form.startswith("multipart") else "body"
        yield name, within, _kind(field), _default(field, name in schema.get("required", ()))


def _kind(schema: dict[str, Any]) -> str:
    kind = str(schema.get("type", "any"))
    if kind == "array":
        items = schema.get("items", {})
        most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
        return f"list of {_kind(items)}{most}"
    if choices := schema.get("enum"):
        shown = ", ".join(f"`{choice}`" for choice in choices[:8] if choice not in {"", None})
        return f"{shown}{f' and {len(choices) - 8} more' if len(choices) > 8 else ''}"
    bounds = [
        f"{word} {schema[name]}{unit}"
        for name, word, unit in (
            ("minLength", "at least", " characters"),
            ("maxLength", "at most", " characters"),
            ("minimum", "from", ""),
            ("maximum", "to", ""),
        )
        if name in schema
    ]
    return ", ".join([schema.get("format", kind), *bounds])


def _default(schema: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def _example(method: str, path: str, operation: dict[str, Any]) -> str:
    filled = re.sub(r"\{(\w+)\}", lambda name: str(_EXAMPLES.get(name[1], name[1])), path)
    needed = {
        p["name"]: _value(p["name"], p["schema"])
        for p in operation.get("parameters", ())
        if p["in"] == "query" and p["required"]
    }
    query = "?" + "&".join(f"{name}={value}" for name, value in needed.items()) if needed else ""
    lines = [
        f'curl -X {method} "$APPWRITE_ENDPOINT{filled}{query}"',
        '-H "X-Appwrite-Project: $APPWRITE_PROJECT_ID"',
        '-H "X-Appwrite-Key: $APPWRITE_API_KEY"',
    ]
    form, schema = _body(operation)
    fields = schema.get("properties", {})
    required = {name: _value(name, fields[name]) for name in schema.get("required", ())}
    if form.startswith("multipart"):
        lines += [f"-F {name}={'@code.tar.gz' if name == 'code' else json.dumps(v)}" for name, v in required.items()]
    elif required:
        lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(required)}'"]
    return " \\\n  ".join(lines)


def _value(name: str, schema: dict[str, Any]) -> Any:
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    if choices := [choice for choice in schema.get("enum", ()) if choice]:
        return choices[0]
    kinds: dict[str, Any] = {"boolean": True, "integer": schema.get("minimum", 1), "array": [], "object": {}}
    return kinds.get(str(schema.get("type")), name)


if __name__ == "__main__":
    PAGE.write_text(page())
