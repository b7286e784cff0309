"""Parameters: one declared table per operation, parsed after the scope check in declaration order (http-api.md 2)."""

from annals.app.parameters.identity import Email, Emptiable, Label, Password, Phone, TeamRole
from annals.app.parameters.kinds import (
    UNIQUE,
    ArrayList,
    Boolean,
    CustomId,
    IntegerRange,
    Nullable,
    OneOf,
    ParameterKind,
    Text,
    TextOrBytes,
    Uid,
    ValidationError,
)
from annals.app.parameters.special import Cron, Events, ExecutionHeaders, Roles, SpecificationSlug
from annals.app.parameters.table import Parameter, ParameterGroup, Parameters, StrictParameters, optional, required

__all__ = [
    "UNIQUE",
    "ArrayList",
    "Boolean",
    "Cron",
    "CustomId",
    "Email",
    "Emptiable",
    "Events",
    "ExecutionHeaders",
    "IntegerRange",
    "Label",
    "Nullable",
    "OneOf",
    "Parameter",
    "ParameterGroup",
    "ParameterKind",
    "Parameters",
    "Password",
    "Phone",
    "Roles",
    "SpecificationSlug",
    "StrictParameters",
    "TeamRole",
    "Text",
    "TextOrBytes",
    "Uid",
    "ValidationError",
    "optional",
    "required",
]
