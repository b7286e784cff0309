"""Compares our OpenAPI documents with the reference's, reduced to the parts that clients depend on.

Each difference has a reason. A pattern (of `fnmatch`) may stand for many lines of `differences`; the first that
matches explains one.
"""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from annals.app.edge.negotiation import negotiate
from annals.app.openapi.document import document
from annals.app.services import offered
from annals.settings import Settings
from tests.routes import ENDPOINTS

API_VERSIONS = ("1.8.0", "2.5.0")
_HERE = Path(__file__).parent
_METHODS = ("get", "post", "put", "patch", "delete")


class Reason(NamedTuple):
    """A pattern of differences, the API versions that have them, and the reason."""

    pattern: str
    api_versions: tuple[str, ...]
    why: str


_FORMER, _NEWEST = ("1.8.0",), ("2.5.0",)
_BOTH = _FORMER + _NEWEST
_UNION = "Parameters of both generations are accepted in every format."
_SIZES = "The document lists the sizes of this instance; the reference allows any text."

REASONS = (
    Reason("get * .asOf: ours alone", _BOTH, "The log keeps past states, so reads answer for any moment."),
    Reason("* .dryRun: ours alone", _BOTH, "Every write can run dry, with nothing recorded."),
    Reason("post * .Idempotency-Key: ours alone", _BOTH, "A repeated create request is carried out once."),
    Reason("* .specification: ours alone", _NEWEST, _UNION),
    Reason("* .buildSpecification: ours alone", _FORMER, _UNION),
    Reason("* .runtimeSpecification: ours alone", _FORMER, _UNION),
    Reason("p* .deploymentRetention: ours alone", _FORMER, _UNION),
    Reason("p* .providerBranches: ours alone", _FORMER, _UNION),
    Reason("p* .providerPaths: ours alone", _FORMER, _UNION),
    Reason("get /functions/specifications .type: ours alone", _FORMER, _UNION),
    Reason(
        "get /functions/runtimes .available: ours alone",
        _BOTH,
        "It selects the runtimes that work on this instance; the catalogue has more than any driver serves.",
    ),
    Reason("get * .token: ours alone", _FORMER, _UNION),
    Reason("get /functions/{functionId}/variables .*: ours alone", _FORMER, _UNION),
    Reason("post * .variableId: ours alone", _FORMER, _UNION),
    Reason(
        "post /functions .template*: ours alone", _BOTH, "SDKs of 1.8 still send these; they are checked and ignored."
    ),
    Reason("* .*pecification: enum *, not null", _BOTH, _SIZES),
    Reason(
        "* .*pecification: default null, not {}",
        _NEWEST,
        "An empty object is not a size. Without a value, Annals chooses the size.",
    ),
    Reason("get /functions/specifications .type: enum *", _NEWEST, "The document lists the two accepted words."),
    Reason(
        "* .runtime: enum *", _FORMER, "Every format has the newest catalogue, with runtimes that were added since."
    ),
    Reason(
        "* .runtimes: items *", _FORMER, "Every format has the newest catalogue, with runtimes that were added since."
    ),
    Reason("* .scopes: items *", _BOTH, "Both names of a renamed scope are accepted in every format."),
    Reason("* .search: default null, not *", _BOTH, "An empty search is refused, so the default is none."),
    Reason("* .token: default null, not *", _NEWEST, "Download tokens are not served."),
    Reason("* .buildId: default null, not *", _NEWEST, "An empty id is refused, so the default is none."),
    Reason(
        "put * .runtime: default null, not *",
        _NEWEST,
        "An empty runtime is refused. Without a value, the runtime stays as it is.",
    ),
    Reason("* .headers: default {}, not *", _BOTH, "Headers are an object; an empty list is accepted too."),
    Reason(
        "* .*: default *, not null", _FORMER, "The document states defaults; the reference's document of 1.8 has none."
    ),
    Reason("* .*: nullable true, not null", _FORMER, "Null counts as not sent, in every format."),
    Reason(
        "model error .code: type *", _BOTH, "The code is a number on the wire; the reference's document says otherwise."
    ),
    Reason("model execution .resourceType: enum *", _NEWEST, "There are no sites."),
    Reason("model function .*: ours alone", _FORMER, "Fields added since are shown beside the former ones."),
)


def reason_of(line: str, version: str) -> Reason | None:
    """Return the reason of a difference, or None if there is none."""
    fitting = (one for one in REASONS if version in one.api_versions and _matches(line, one.pattern))
    return next(fitting, None)


def _matches(line: str, pattern: str) -> bool:
    return fnmatchcase(line.replace("[", "("), pattern)


@cache
def reference(version: str) -> dict[str, Any]:
    """Return the reference's operations and models, without examples and descriptions."""
    reduced: dict[str, Any] = json.loads((_HERE / f"reference-{version}.json").read_text())
    return reduced


@cache
def ours(version: str) -> dict[str, Any]:
    """Return the document of an instance with default settings."""
    settings = Settings()
    runtimes, specifications = offered(settings)
    services = SimpleNamespace(settings=settings, runtimes=runtimes, specifications=specifications)
    return document(ENDPOINTS, cast(Any, services), negotiate(version))


def differences(version: str) -> Iterator[str]:
    """Return all differences in the functions service, one line each."""
    document, wanted = ours(version), reference(version)
    made = {
        f"{method} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in _METHODS
    }
    for name, operation in wanted["operations"].items():
        if name not in made:
            yield f"{name}: missing"
        else:
            yield from _of_operation(name, made[name], operation)
    schemas = document["components"]["schemas"]
    for name, properties in wanted["models"].items():
        if name not in schemas:
            yield f"model {name}: missing"
            continue
        required = schemas[name]["required"]
        found = {
            field: {**_reduced(schema), "required": field in required}
            for field, schema in schemas[name]["properties"].items()
        }
        yield from _of_fields(f"model {name}", found, properties)


def _of_operation(name: str, made: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    if made["operationId"] != wanted["operationId"]:
        yield f"{name}: operationId {made['operationId']}, not {wanted['operationId']}"
    if not set(wanted["status"]) <= set(made["responses"]):
        yield f"{name}: status {sorted(made['responses'])}, not {wanted['status']}"
    models = {
        schema["$ref"].rpartition("/")[2]
        for response in made["responses"].values()
        for content in response.get("content", {}).values()
        for schema in content["schema"].get("anyOf", [content["schema"]])
        if "$ref" in schema  # the answer to a dry run, which the reference does not have, is no model
    } - {"error"}
    if models != set(wanted["model"]):
        yield f"{name}: model {sorted(models)}, not {wanted['model']}"
    found = {p["name"]: {**_reduced(p["schema"]), "in": p["in"], "required": p["required"]} for p in _parameters(made)}
    yield from _of_fields(name, found, wanted["parameters"])


def _parameters(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from made.get("parameters", ())
    for content in made.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        for name, one in schema["properties"].items():
            yield {"name": name, "in": "body", "required": name in schema.get("required", ()), "schema": one}


def _of_fields(model: str, found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            yield f"{model} .{name}: missing"
        elif name not in wanted:
            yield f"{model} .{name}: ours alone"
        else:
            for aspect in sorted(found[name].keys() | wanted[name].keys()):
                mine, theirs = found[name].get(aspect), wanted[name].get(aspect)
                if mine != theirs:
                    yield f"{model} .{name}: {aspect} {_short(mine)}, not {_short(theirs)}"


def _reduced(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return {"ref": schema["$ref"].rpartition("/")[2]}
    reduced: dict[str, Any] = {name: schema[name] for name in ("type", "nullable", "default") if name in schema}
    if "enum" in schema:
        reduced["enum"] = sorted(schema["enum"])
    if "items" in schema:
        reduced["items"] = _reduced(schema["items"])
    return reduced


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 else f"{text[:56]}…"
