"""The operations on what an instance offers; most of them are public and need no project."""

from annals.app.catalogue import queries, schemas
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer, raw_json_answer
from annals.app.edge.call import Call
from annals.app.errors import NoExecutor, TemplateNotFound
from annals.app.identity.scopes import FUNCTIONS_READ
from annals.app.parameters import ArrayList, Boolean, IntegerRange, OneOf, Parameters, Text, optional, required
from annals.domain.runtimes import RUNTIMES

LIST_RUNTIMES = Parameters(available=optional(Boolean(loose=True), False))
LIST_SPECIFICATIONS = Parameters(type=optional(OneOf(("runtimes", "builds"), strict=False), "runtimes"))
LIST_TEMPLATES = Parameters(
    runtimes=optional(ArrayList(OneOf(tuple(RUNTIMES)), 100), []),
    useCases=optional(ArrayList(OneOf(queries.USE_CASES, strict=False), 100), []),
    limit=optional(IntegerRange(1, 5000), 25),
    offset=optional(IntegerRange(0, 5000), 0),
    total=optional(Boolean(loose=True), True),
)
GET_TEMPLATE = Parameters(templateId=required(Text(128)))


class CatalogueController(operation.ResourceController):
    path = "/v1/functions"

    @operation.get("/runtimes", parameters=LIST_RUNTIMES, needs_project=False)
    async def list_runtimes(self, call: Call) -> Answer:
        """What is offered, or only what an executor of this instance can build and run."""
        offered = frozenset(call.services.runtimes)
        if call.values["available"]:
            available = await call.services.available.runtimes()
            if available is None:
                raise NoExecutor
            offered &= available
        return raw_json_answer(queries.runtimes(offered))

    @operation.get("/specifications", scopes=FUNCTIONS_READ, parameters=LIST_SPECIFICATIONS)
    async def list_specifications(self, call: Call) -> Answer:
        offered = [schemas.specification(known) for known in call.services.specifications.values()]
        return json_answer(schemas.SpecificationListModel(len(offered), offered))

    @operation.get("/templates", parameters=LIST_TEMPLATES, needs_project=False)
    async def list_templates(self, call: Call) -> Answer:
        values = call.values
        found = queries.matching(_templates(call), use_cases=values["useCases"], runtime_ids=values["runtimes"])
        page = found[values["offset"] : values["offset"] + values["limit"]]
        return json_answer(schemas.TemplateListModel(len(found) if values["total"] else 0, page))

    @operation.get("/templates/{templateId:str}", parameters=GET_TEMPLATE)
    async def get_template(self, call: Call) -> Answer:
        for entry in _templates(call):
            if entry.id == call.values["templateId"]:
                return json_answer(entry)
        raise TemplateNotFound


def _templates(call: Call) -> tuple[schemas.TemplateModel, ...]:
    return queries.templates(frozenset(call.services.runtimes))
