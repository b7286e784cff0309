"""Queries that read rules."""

from annals.app.edge.call import Call
from annals.app.proxy.schemas import present
from annals.app.queries.page import Page
from annals.app.queries.reading import read_page
from annals.app.queries.schema import Attribute, schema, text
from annals.app.queries.statements import Sql, listing, search
from annals.app.reads import Lookup
from annals.app.wire import encode, joined
from annals.domain.errors import RuleNotFound
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "queries.sql")
ONE = Lookup(QUERIES["rules"], 2)
_DEPLOYMENT = QUERIES["active"]

LIST = schema(
    "rules",
    "rule_id",
    "Rule",
    domain=text("domain"),
    type=Attribute("text", "'deployment'::text"),
    trigger=Attribute("text", "'manual'::text"),
    deploymentResourceType=Attribute("text", "'function'::text"),
    deploymentResourceId=text("function_id"),
    deploymentId=text(_DEPLOYMENT),
    deploymentVcsProviderBranch=text("branch"),
    redirectUrl=Attribute("text", "''::text"),
)


async def read_rule(call: Call, rule_id: str) -> bytes:
    """Return one rule as JSON. Raises RuleNotFound."""
    found = await call.services.reads.look_up(ONE, call.project_id, rule_id)
    call.seen(found.position)
    if not found.rows:
        raise RuleNotFound
    return encode(present(found.rows[0]))


async def read_rules(call: Call, page: Page, searched: str | None, *, counted: bool) -> bytes:
    """Return a page of rules as JSON."""
    conditions = [Sql("project_id = %s", (call.project_id,))]
    if searched is not None:
        conditions.append(search(searched, "rule_id || ' ' || domain"))
    scope = Sql(" AND ".join(c.text for c in conditions), tuple(value for c in conditions for value in c.params))
    columns = f"*, {_DEPLOYMENT} AS deployment_id"
    statements = listing(page, LIST, scope, columns=columns, project=call.project_id)
    found = await read_page(call, statements, cursor=page.cursor, noun=LIST.noun, counted=counted)
    return joined("rules", found.total, [encode(present(row)) for row in found.rows])
