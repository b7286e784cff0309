"""The models of the functions service under the contract's names, for every API version."""

from typing import Any

import msgspec

from annals.app.catalogue import schemas as catalogue
from annals.app.deployments.schemas import DeploymentModel
from annals.app.edge.error_answers import Envelope
from annals.app.edge.negotiation import ApiVersion
from annals.app.executions.schemas import ExecutionModel, HeaderModel
from annals.app.functions.schemas import FunctionModel
from annals.app.openapi.json_schemas import REFERENCE, Schema, list_schema, model_schema
from annals.app.variables.schemas import VariableModel
from annals.projections.usage.series import METRICS

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

_COUNT = {"type": "integer", "format": "int32"}
_METRIC = {
    "type": "object",
    "properties": {"value": _COUNT, "date": {"type": "string"}},
    "required": ["value", "date"],
}


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
