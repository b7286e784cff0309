"""The parameter tables of installations."""

from annals.app.installations.queries import LIST as SCHEMA
from annals.app.parameters import Boolean, CustomId, OneOf, Parameters, Text, Uid, optional, required
from annals.app.queries.page import ListQueries, Page

ONE = Parameters(installationId=required(Uid()))
LIST = Parameters(queries=optional(ListQueries(SCHEMA), Page()), total=optional(Boolean(loose=True), True))
CREATE = Parameters(
    installationId=required(CustomId()),
    provider=required(OneOf(("git", "github"))),
    organization=optional(Text(128, 0), ""),
    url=optional(Text(1024, 0), ""),
    username=optional(Text(256, 0), ""),
    password=optional(Text(4096, 0), ""),
    privateKey=optional(Text(16384, 0), ""),
    knownHosts=optional(Text(16384, 0), ""),
    appId=optional(Text(64, 0), ""),
    providerInstallationId=optional(Text(64, 0), ""),
    webhookSecret=optional(Text(256, 16)),
)
