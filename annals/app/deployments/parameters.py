"""The parameter tables of deployments."""

from annals.app.deployments.queries import LIST as SCHEMA
from annals.app.parameters import Boolean, OneOf, Parameters, Text, Uid, optional, required
from annals.app.queries.page import ListQueries, Page

ONE = Parameters(functionId=required(Uid()), deploymentId=required(Uid()))
LIST = Parameters(
    functionId=required(Uid()),
    queries=optional(ListQueries(SCHEMA), Page()),
    search=optional(Text(256)),
    total=optional(Boolean(loose=True), True),
)
DUPLICATE = ONE.but(buildId=optional(Uid()))
DOWNLOAD = ONE.but(type=optional(OneOf(("source", "output")), "source"), token=optional(Text(512, 0)))
CREATE_FROM_TEMPLATE = Parameters(
    functionId=required(Uid()),
    repository=required(Text(128, 0)),
    owner=required(Text(128, 0)),
    rootDirectory=required(Text(128, 0)),
    type=required(OneOf(("commit", "branch", "tag"), strict=False)),
    reference=required(Text(128, 0)),
    activate=optional(Boolean(), False),
)
CREATE_FROM_REPOSITORY = Parameters(
    functionId=required(Uid()),
    type=required(OneOf(("branch", "commit"))),
    reference=required(Text(255)),
    activate=optional(Boolean(), False),
)
