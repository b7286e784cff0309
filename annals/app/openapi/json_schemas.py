"""JSON schemas of parameters, and of the functions service's models under the contract's names for each API version."""

from collections.abc import Sequence
from typing import Any

import msgspec

from annals.app.catalogue import schemas as catalogue
from annals.app.deployments.schemas import DeploymentModel
from annals.app.edge.error_answers import Envelope
from annals.app.edge.negotiation import ApiVersion
from annals.app.executions.schemas import ExecutionModel, HeaderModel
from annals.app.functions.schemas import FunctionModel
from annals.app.parameters import (
    ArrayList,
    Boolean,
    Events,
    ExecutionHeaders,
    IntegerRange,
    Nullable,
    OneOf,
    Roles,
    SpecificationSlug,
    Text,
    TextOrBytes,
)
from annals.app.parameters.table import Parameter, ParameterGroup
from annals.app.queries.page import ListQueries, Page
from annals.app.variables.queries import VariableModel
from annals.projections.usage.series import METRICS

Schema = dict[str, Any]
REFERENCE = "#/components/schemas/{name}"
_STRINGS = {"type": "array", "items": {"type": "string"}}
_COUNT = {"type": "integer", "format": "int32"}
_METRIC = {
    "type": "object",
    "properties": {"value": _COUNT, "date": {"type": "string"}},
    "required": ["value", "date"],
}


def schema_of(kind: Any) -> Schema:
    """Return a kind's JSON schema. A kind without a case below is a string."""
    match kind:
        case Nullable(kind=inner):
            return {**schema_of(inner), "nullable": True}
        case ArrayList(element=element, most=most):
            return {"type": "array", "items": schema_of(element), "maxItems": most}
        case Roles(most=most) | Events(most=most):
            return {**_STRINGS, "maxItems": most}
        case ListQueries():
            return dict(_STRINGS)
        case Boolean():
            return {"type": "boolean"}
        case IntegerRange(least=least, most=most):
            return {"type": "integer", "format": "int32", "minimum": least, "maximum": most}
        case OneOf(words=words):
            return {"type": "string", "enum": list(words)}
        case SpecificationSlug(slugs=slugs):
            return {"type": "string", "enum": list(slugs)}
        case Text(least=least, most=most):
            return {"type": "string", "maxLength": most, **({"minLength": least} if least else {})}
        case TextOrBytes(most=most):
            return {"type": "string", "maxLength": most}
        case ExecutionHeaders():
            return {"type": "object"}
        case ParameterGroup(table=table):
            return {"type": "object", "properties": {name: parameter_schema(line) for name, line in table.lines}}
    return {"type": "string"}


def parameter_schema(parameter: Parameter) -> Schema:
    """Return the JSON schema of one parameter, with its default if it is optional."""
    schema = schema_of(parameter.kind)
    default = parameter.default
    if isinstance(default, Page):
        default = []
    if isinstance(default, bytes):
        default = default.decode()
    has_default = parameter.is_optional and isinstance(default, str | int | float | list | dict)
    return {**schema, "default": default} if has_default else schema


def model_schema(model: type[msgspec.Struct], names: dict[type, str], hidden: frozenset[str] = frozenset()) -> Schema:
    """Return a model as an object schema. Models in `names` are references, and `hidden` fields are left out."""
    properties: dict[str, Schema] = {}
    optional: set[str] = set()
    for field in msgspec.inspect.type_info(model).fields:  # type: ignore[attr-defined]
        if field.encode_name not in hidden:
            properties[field.encode_name] = _type_schema(field.type, names)
            if properties[field.encode_name].get("nullable"):
                optional.add(field.encode_name)
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def list_schema(rows: str, model: str) -> Schema:
    """Return the schema of a list: its total, and a page of rows."""
    items = {"type": "array", "items": {"$ref": REFERENCE.format(name=model)}}
    total = {"type": "integer", "format": "int32"}
    return {"type": "object", "properties": {"total": total, rows: items}, "required": ["total", rows]}


def _type_schema(kind: msgspec.inspect.Type, names: dict[type, str]) -> Schema:
    match kind:
        case msgspec.inspect.UnionType(types=types):
            return _union_schema(types, names)
        case msgspec.inspect.StructType(cls=cls):
            return {"$ref": REFERENCE.format(name=names[cls])}
        case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.CollectionType(item_type=item):
            return {"type": "array", "items": _type_schema(item, names)}
        case msgspec.inspect.VarTupleType(item_type=item):
            return {"type": "array", "items": _type_schema(item, names)}
        case msgspec.inspect.BoolType():
            return {"type": "boolean"}
        case msgspec.inspect.IntType():
            return {"type": "integer", "format": "int32"}
        case msgspec.inspect.FloatType():
            return {"type": "number", "format": "double"}
    return {"type": "string"}


def _union_schema(types: Sequence[msgspec.inspect.Type], names: dict[type, str]) -> Schema:
    """Return the schema of a union. Unset means that a version leaves the field out, and raw JSON has its
    neighbour's type."""
    members = [member for member in types if not isinstance(member, msgspec.inspect.RawType)]
    nullable = any(isinstance(member, msgspec.inspect.NoneType) for member in members)
    members = [member for member in members if not isinstance(member, msgspec.inspect.NoneType)]
    schema = _type_schema(members[0], names)
    return {**schema, "nullable": True} if nullable else schema


_STRUCTS: dict[str, type[msgspec.Struct]] = {
    "function": FunctionModel,
    "deployment": DeploymentModel,
    "execution": ExecutionModel,
    "headers": HeaderModel,
    "variable": VariableModel,
    "runtime": catalogue.RuntimeModel,
    "specification": catalogue.SpecificationModel,
    "templateFunction": catalogue.TemplateModel,
    "templateRuntime": catalogue.TemplateRuntimeModel,
    "templateVariable": catalogue.TemplateVariableModel,
    "error": Envelope,
}
_LISTS = {
    "functionList": ("functions", "function"),
    "deploymentList": ("deployments", "deployment"),
    "executionList": ("executions", "execution"),
    "variableList": ("variables", "variable"),
    "runtimeList": ("runtimes", "runtime"),
    "specificationList": ("specifications", "specification"),
    "templateFunctionList": ("templates", "templateFunction"),
}
_WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("execution", "trigger"): ("http", "schedule", "event"),
    ("execution", "status"): ("waiting", "processing", "completed", "failed", "scheduled"),
    ("execution", "resourceType"): ("functions",),
    ("deployment", "status"): ("waiting", "processing", "building", "ready", "canceled", "failed"),
}
"""Fields that hold one of a few words."""


def components(api_version: ApiVersion) -> dict[str, Schema]:
    """Return all models of this API version."""
    names: dict[type, str] = {struct: name for name, struct in _STRUCTS.items()}
    hidden = _hidden(api_version)
    found = {
        name: model_schema(struct, names, hidden.get(name, frozenset())) for name, struct in _STRUCTS.items()
    }  # fmt: skip
    for (model, field), words in _WORDS.items():
        if field in found[model]["properties"]:
            found[model]["properties"][field] = {"type": "string", "enum": list(words)}
    found |= {name: list_schema(*rows) for name, rows in _LISTS.items()}
    found["metric"] = _METRIC
    return found | {"usageFunction": _usage(of_one=True), "usageFunctions": _usage(of_one=False)}


def _hidden(api_version: ApiVersion) -> dict[str, frozenset[str]]:
    """Return the fields that answers of this API version leave out."""
    function = {
        "deployment": api_version.former_names,
        "deploymentId": not api_version.former_names,
        "deploymentCreatedAt": not api_version.former_names,
        "latestDeploymentId": not api_version.former_names,
        "latestDeploymentCreatedAt": not api_version.former_names,
        "latestDeploymentStatus": not api_version.former_names,
        "scopes": api_version.knows_scopes,
        "specification": api_version.shows_specification,
        "buildSpecification": api_version.shows_split_specification,
        "runtimeSpecification": api_version.shows_split_specification,
    }
    deployment = {
        **dict.fromkeys(("size", "buildTime"), api_version.former_names),
        **dict.fromkeys(
            ("sourceSize", "totalSize", "screenshotLight", "screenshotDark", "buildDuration"),
            not api_version.former_names,
        ),
    }
    execution = {
        "functionId": api_version.shows_function_id,
        "resourceId": api_version.shows_resource,
        "resourceType": api_version.shows_resource,
    }
    shown = {"function": function, "deployment": deployment, "execution": execution}
    return {
        model: frozenset(name for name, is_shown in fields.items() if not is_shown) for model, fields in shown.items()
    }


def _usage(*, of_one: bool) -> Schema:
    words = [word for word in METRICS if not (of_one and word == "functions")]
    properties: dict[str, Any] = {"range": {"type": "string"}}
    properties |= {f"{word}Total": _COUNT for word in words}
    if of_one:
        properties["buildsTimeAverage"] = _COUNT
    series = {"type": "array", "items": {"$ref": REFERENCE.format(name="metric")}}
    properties |= dict.fromkeys(words, series)
    return {"type": "object", "properties": properties, "required": list(properties)}
