"""Makes the OpenAPI document of one API version from the route table, with links between operations.

The id in the answer of a create leads to the operations that take it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from annals.app.deployments.receive import CREATE as FORM
from annals.app.edge.negotiation import ApiVersion
from annals.app.edge.operation import Endpoint
from annals.app.openapi.json_schemas import REFERENCE, Schema, components, parameter_schema
from annals.app.openapi.texts import TEXTS
from annals.app.parameters import Parameters
from annals.app.services import Services
from annals.domain.version import API_VERSION

_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_FOLDERS = {
    "/v1/proxy/rules/function": "/v1/proxy/rules",
    "/v1/project/platforms/web": "/v1/project/platforms",
}
"""The collection of a created resource, if it differs from the path of the create."""

_SECURITY = {
    "Project": "X-Appwrite-Project",
    "Key": "X-Appwrite-Key",
    "JWT": "X-Appwrite-JWT",
    "Session": "X-Appwrite-Session",
}

_RECORD_NOTHING = {
    "/v1/account/jwt",
    "/v1/account/jwts",
    "/v1/project/keys/ephemeral",
    "/v1/projects/{projectId}/jwts",
    "/v1/users/{userId}/jwts",
}
"""Writes that record nothing, so that a dry run has no meaning."""

_CREDENTIALS: list[dict[str, list[str]]] = [{"Project": [], kind: []} for kind in ("Key", "Session", "JWT")]


_AS_OF: Schema = {
    "type": "string",
    "description": "A position of the log or an RFC 3339 time: the answer is the state at that moment.",
}
_WOULD_RECORD: Schema = {
    "type": "object",
    "required": ["total", "events"],
    "properties": {"total": {"type": "integer"}, "events": {"type": "array", "items": {"type": "object"}}},
}
_DRY_RUN: Schema = {
    "type": "boolean",
    "description": "Returns the events that would be recorded, or the error, and records nothing.",
}
_IDEMPOTENCY_KEY: Schema = {
    "type": "string",
    "description": "A request that is repeated with the same key within 24 hours runs once and gets the same answer.",
}


class NamedOperation(NamedTuple):
    """The contract's name of an operation, and its answer: a status, and a model if there is a body."""

    word: str
    status: int
    model: str = ""


_F = "/v1/functions"
_ONE = f"{_F}/{{functionId}}"
_D, _E, _V = f"{_ONE}/deployments", f"{_ONE}/executions", f"{_ONE}/variables"
_D1, _E1, _V1 = f"{_D}/{{deploymentId}}", f"{_E}/{{executionId}}", f"{_V}/{{variableId}}"

NAMES: dict[tuple[str, str], NamedOperation] = {
    ("GET", _F): NamedOperation("list", 200, "functionList"),
    ("POST", _F): NamedOperation("create", 201, "function"),
    ("GET", f"{_F}/runtimes"): NamedOperation("listRuntimes", 200, "runtimeList"),
    ("GET", f"{_F}/specifications"): NamedOperation("listSpecifications", 200, "specificationList"),
    ("GET", f"{_F}/templates"): NamedOperation("listTemplates", 200, "templateFunctionList"),
    ("GET", f"{_F}/templates/{{templateId}}"): NamedOperation("getTemplate", 200, "templateFunction"),
    ("GET", f"{_F}/usage"): NamedOperation("listUsage", 200, "usageFunctions"),
    ("GET", _ONE): NamedOperation("get", 200, "function"),
    ("PUT", _ONE): NamedOperation("update", 200, "function"),
    ("DELETE", _ONE): NamedOperation("delete", 204),
    ("PATCH", f"{_ONE}/deployment"): NamedOperation("updateFunctionDeployment", 200, "function"),
    ("GET", _D): NamedOperation("listDeployments", 200, "deploymentList"),
    ("POST", _D): NamedOperation("createDeployment", 202, "deployment"),
    ("POST", f"{_D}/duplicate"): NamedOperation("createDuplicateDeployment", 202, "deployment"),
    ("POST", f"{_D}/template"): NamedOperation("createTemplateDeployment", 202, "deployment"),
    ("POST", f"{_D}/vcs"): NamedOperation("createVcsDeployment", 202, "deployment"),
    ("GET", _D1): NamedOperation("getDeployment", 200, "deployment"),
    ("DELETE", _D1): NamedOperation("deleteDeployment", 204),
    ("GET", f"{_D1}/download"): NamedOperation("getDeploymentDownload", 200),
    ("PATCH", f"{_D1}/status"): NamedOperation("updateDeploymentStatus", 200, "deployment"),
    ("GET", _E): NamedOperation("listExecutions", 200, "executionList"),
    ("POST", _E): NamedOperation("createExecution", 201, "execution"),
    ("GET", _E1): NamedOperation("getExecution", 200, "execution"),
    ("DELETE", _E1): NamedOperation("deleteExecution", 204),
    ("GET", f"{_ONE}/usage"): NamedOperation("getUsage", 200, "usageFunction"),
    ("GET", _V): NamedOperation("listVariables", 200, "variableList"),
    ("POST", _V): NamedOperation("createVariable", 201, "variable"),
    ("GET", _V1): NamedOperation("getVariable", 200, "variable"),
    ("PUT", _V1): NamedOperation("updateVariable", 200, "variable"),
    ("DELETE", _V1): NamedOperation("deleteVariable", 204),
}
"""The operations of the contract. Other operations are named by their method and path."""


class _TableContext(NamedTuple):
    """The parts of a call from which tables of parameters are made."""

    services: Services
    api_version: ApiVersion


def document(operations: Iterable[Endpoint], services: Services, api_version: ApiVersion) -> dict[str, Any]:
    """Return the document of all operations below /v1, for callers of one API version."""
    operations = tuple(operations)
    paths: dict[str, dict[str, Any]] = {}
    context = _TableContext(services, api_version)
    for operation in operations:
        if operation.path.startswith("/v1/"):
            described = _operation(operation, context)
            if operation_links := links(operation, operations, _name):
                next(iter(described["responses"].values()))["links"] = operation_links
            paths.setdefault(operation.path.removeprefix("/v1"), {})[operation.method.lower()] = described
    schemes = {name: {"type": "apiKey", "name": header, "in": "header"} for name, header in _SECURITY.items()}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Annals", "version": API_VERSION},
        "servers": [{"url": "/v1"}],
        "paths": paths,
        "components": {"schemas": components(api_version), "securitySchemes": schemes},
    }


def _operation(operation: Endpoint, context: _TableContext) -> dict[str, Any]:
    named = NAMES.get((operation.method, operation.path))
    scopes = operation.declared["scopes"]
    scopes = scopes(context.api_version) if callable(scopes) else scopes
    described: dict[str, Any] = {
        "operationId": _name(operation),
        **TEXTS[operation.method, operation.path]._asdict(),
        "tags": [operation.service],
        "security": [*([{}] if "public" in scopes else []), *_CREDENTIALS],
        "responses": _with_dry_run(operation, _responses(named)),
        "x-annals": {"scopes": sorted(scopes)},
    }
    in_path = _PATH_PARAMETER.findall(operation.path)
    lines = dict(_table(operation, context).lines)
    placed = [_parameter(name, {"type": "string"}, "path", needed=True) for name in in_path]
    rest = {name: line for name, line in lines.items() if name not in in_path}
    if operation.method == "GET":
        placed += [
            _parameter(name, parameter_schema(line), "query", needed=not line.is_optional)
            for name, line in rest.items()
        ]
    elif rest:
        described["requestBody"] = _body(operation, rest)
    placed += _added(operation)
    return {**described, "parameters": placed} if placed else described


def _added(operation: Endpoint) -> list[dict[str, Any]]:
    """Return an operation's extra parameters: asOf for reads, dryRun and an idempotency key for writes."""
    if operation.declared["as_of"]:
        return [_parameter("asOf", _AS_OF, "query", needed=False)]
    if not _takes_dry_run(operation):
        return []
    added = [_parameter("dryRun", _DRY_RUN, "query", needed=False)]
    if operation.declared["creates"] is not None:
        added.append(_parameter("Idempotency-Key", _IDEMPOTENCY_KEY, "header", needed=False))
    return added


def _takes_dry_run(operation: Endpoint) -> bool:
    return not operation.declared["as_of"] and operation.method != "GET" and operation.path not in _RECORD_NOTHING


def _table(operation: Endpoint, context: _TableContext) -> Parameters:
    if operation.declared["reads_body_itself"]:
        return FORM
    table = operation.declared["parameters"]
    return table(cast(Any, context)) if callable(table) else table


def _parameter(name: str, schema: Schema, location: str, *, needed: bool) -> dict[str, Any]:
    return {"name": name, "in": location, "required": needed, "schema": schema}


def _body(operation: Endpoint, lines: dict[str, Any]) -> dict[str, Any]:
    properties = {name: parameter_schema(line) for name, line in lines.items()}
    required = [name for name, line in lines.items() if not line.is_optional]
    if operation.declared["reads_body_itself"]:
        properties["code"] = {"type": "string", "format": "binary"}
        required.append("code")
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    form = "multipart/form-data" if operation.declared["reads_body_itself"] else "application/json"
    return {"content": {form: {"schema": schema}}}


def _responses(named: NamedOperation | None) -> dict[str, Any]:
    error = {"description": "An error.", "content": _content("error")}
    if named is None:
        return {"2XX": {"description": "Done."}, "default": error}
    done: dict[str, Any] = {"description": "Done."}
    if named.model:
        done["content"] = _content(named.model)
    if named.word == "createExecution":
        done["content"]["multipart/form-data"] = done["content"]["application/json"]
        return {
            "201": done,
            "202": {"description": "It runs later.", "content": _content("execution")},
            "default": error,
        }
    return {str(named.status): done, "default": error}


def _with_dry_run(operation: Endpoint, responses: dict[str, Any]) -> dict[str, Any]:
    """Return the responses with that to a dry run, which is always 200."""
    if not _takes_dry_run(operation) or "2XX" in responses:
        return responses
    own = responses.get("200", {}).get("content", {}).get("application/json", {}).get("schema")
    dry = {
        "description": "With `dryRun`, the events that the operation would record.",
        "content": {"application/json": {"schema": {"anyOf": [own, _WOULD_RECORD]} if own else _WOULD_RECORD}},
    }
    error = responses.pop("default")
    return {**responses, "200": {**dry, **({"description": "Done."} if own else {})}, "default": error}


def _content(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REFERENCE.format(name=model)}}}


def _name(operation: Endpoint) -> str:
    """Return the contract's name with its service, or a name made from method and path."""
    if named := NAMES.get((operation.method, operation.path)):
        return f"{operation.service}{_upper(named.word)}"
    words = [word.strip("{}") for word in operation.path.split("/")[2:]]
    return operation.method.lower() + "".join(_upper(word) for word in words)


def _upper(word: str) -> str:
    return word[:1].upper() + word[1:]


def links(operation: Endpoint, others: Iterable[Endpoint], name: Callable[[Endpoint], str]) -> dict[str, Any]:
    """Return the links of an operation's answer. The path parameters above the created resource are those of the
    request."""
    if operation.method != "POST":
        return {}
    folder = _FOLDERS.get(operation.path, operation.path)
    above = {parameter: f"$request.path.{parameter}" for parameter in _PATH_PARAMETER.findall(folder)}
    found: dict[str, Any] = {}
    for other in others:
        if not other.path.startswith(f"{folder}/{{"):
            continue
        below = _PATH_PARAMETER.findall(other.path.removeprefix(folder))
        if len(below) == 1:
            found[name(other)] = {"operationId": name(other), "parameters": {**above, below[0]: "$response.body#/$id"}}
    return found
