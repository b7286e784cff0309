"""Parameters: one declared table per operation, parsed after the scope check in declaration order (http-api.md 2)."""

from annals.app.parameters.identity import Email, Emptiable, Label, Password, Phone, TeamRole
from annals.app.parameters.kinds import (
    UNIQUE,
    ArrayList,
    Boolean,
    Content,
    CustomId,
    Kind,
    Nullable,
    OneOf,
    Range,
    Text,
    Uid,
    ValidationError,
)
from annals.app.parameters.special import Cron, Events, ExecutionHeaders, Queries, Roles, Specification
from annals.app.parameters.table import Group, Parameter, Parameters, StrictParameters, optional, required

__all__ = [
    "UNIQUE",
    "ArrayList",
    "Boolean",
    "Content",
    "Cron",
    "CustomId",
    "Email",
    "Emptiable",
    "Events",
    "ExecutionHeaders",
    "Group",
    "Kind",
    "Label",
    "Nullable",
    "OneOf",
    "Parameter",
    "Parameters",
    "Password",
    "Phone",
    "Queries",
    "Range",
    "Roles",
    "Specification",
    "StrictParameters",
    "TeamRole",
    "Text",
    "Uid",
    "ValidationError",
    "optional",
    "required",
]
