"""The operations on what an instance offers: runtimes, specifications and the bundled index of templates.

Most of them are public and need no project.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from importlib.resources import files

import msgspec

from annals.app.catalogue import schemas
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer, raw_json_answer
from annals.app.edge.call import Call
from annals.app.errors import NoExecutor, TemplateNotFound
from annals.app.identity.scopes import FUNCTIONS_READ
from annals.app.parameters import ArrayList, Boolean, IntegerRange, OneOf, Parameters, Text, optional, required
from annals.app.wire import encode
from annals.domain.runtimes import RUNTIMES

USE_CASES = ("starter", "databases", "ai", "messaging", "utilities", "dev-tools", "auth")


@lru_cache(maxsize=1)
def _index() -> tuple[schemas.TemplateModel, ...]:
    entries = msgspec.json.decode(files(__package__).joinpath("templates.json").read_bytes())
    return tuple(schemas.template(entry) for entry in entries)


@lru_cache(maxsize=4)
def runtimes_json(offered: frozenset[str]) -> bytes:
    """Return the offered runtimes as the JSON of their list."""
    rows = [schemas.runtime(known) for known in RUNTIMES.values() if known.id in offered]
    return encode(schemas.RuntimeListModel(len(rows), rows))


@lru_cache(maxsize=4)
def offered_templates(offered: frozenset[str]) -> tuple[schemas.TemplateModel, ...]:
    """Return all templates in the catalogue's order, with those of their runtimes that are offered."""
    return tuple(
        msgspec.structs.replace(entry, runtimes=[one for one in entry.runtimes if one.name in offered])
        for entry in _index()
    )


def matching(
    all_of: Sequence[schemas.TemplateModel], *, use_cases: Collection[str], runtime_ids: Collection[str]
) -> list[schemas.TemplateModel]:
    """Return templates with one of the use cases and one of the runtimes. An empty filter matches all."""
    return [
        entry
        for entry in all_of
        if (not use_cases or not set(use_cases).isdisjoint(entry.use_cases))
        and (not runtime_ids or any(one.name in runtime_ids for one in entry.runtimes))
    ]


LIST_RUNTIMES = Parameters(available=optional(Boolean(loose=True), False))
LIST_SPECIFICATIONS = Parameters(type=optional(OneOf(("runtimes", "builds"), strict=False), "runtimes"))
LIST_TEMPLATES = Parameters(
    runtimes=optional(ArrayList(OneOf(tuple(RUNTIMES)), 100), []),
    useCases=optional(ArrayList(OneOf(USE_CASES, strict=False), 100), []),
    limit=optional(IntegerRange(1, 5000), 25),
    offset=optional(IntegerRange(0, 5000), 0),
    total=optional(Boolean(loose=True), True),
)
GET_TEMPLATE = Parameters(templateId=required(Text(128)))


class CatalogueController(operation.ResourceController):
    path = "/v1/functions"

    @operation.get("/runtimes", parameters=LIST_RUNTIMES, needs_project=False)
    async def list_runtimes(self, call: Call) -> Answer:
        """Return the offered runtimes, or only those that an executor of this instance can build and run."""
        offered = frozenset(call.services.runtimes)
        if call.values["available"]:
            available = await call.services.available.runtimes()
            if available is None:
                raise NoExecutor
            offered &= available
        return raw_json_answer(runtimes_json(offered))

    @operation.get("/specifications", scopes=FUNCTIONS_READ, parameters=LIST_SPECIFICATIONS)
    async def list_specifications(self, call: Call) -> Answer:
        offered = [schemas.specification(known) for known in call.services.specifications.values()]
        return json_answer(schemas.SpecificationListModel(len(offered), offered))

    @operation.get("/templates", parameters=LIST_TEMPLATES, needs_project=False)
    async def list_templates(self, call: Call) -> Answer:
        values = call.values
        found = matching(_templates(call), use_cases=values["useCases"], runtime_ids=values["runtimes"])
        page = found[values["offset"] : values["offset"] + values["limit"]]
        return json_answer(schemas.TemplateListModel(len(found) if values["total"] else 0, page))

    @operation.get("/templates/{templateId:str}", parameters=GET_TEMPLATE)
    async def get_template(self, call: Call) -> Answer:
        for entry in _templates(call):
            if entry.id == call.values["templateId"]:
                return json_answer(entry)
        raise TemplateNotFound


def _templates(call: Call) -> tuple[schemas.TemplateModel, ...]:
    return offered_templates(frozenset(call.services.runtimes))
