"""The operations on rules. A TXT record, whose value only the project knows, proves that it owns a domain."""

import asyncio
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from annals.app.as_of.rows import read_parent
from annals.app.edge import operation
from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.hosts.domain_request import is_own
from annals.app.identity.scopes import RULES_READ, RULES_WRITE
from annals.app.parameters import Parameters, Text, Uid, ValidationError, optional, required
from annals.app.proxy.dns import LONGEST_NAME, Unresolved
from annals.app.queries.page import Page, list_parameters
from annals.app.queries.reading import read_list
from annals.app.queries.schema import Attribute, schema, text
from annals.app.queries.statements import Sql, all_of, search
from annals.app.reads import Lookup
from annals.app.wire import ResourceModel, encode, joined, wire_date
from annals.domain.errors import ArgumentInvalid, RuleNotFound, RuleVerificationFailed
from annals.domain.rule import Rule
from annals.store.ids import generate_id
from annals.store.postgres import sql


class RuleModel(ResourceModel, rename="camel", kw_only=True):
    """One rule. A name is served as soon as it resolves to this instance, so every rule counts as verified."""

    domain: str
    type: str = "deployment"
    trigger: str = "manual"
    redirect_url: str = ""
    redirect_status_code: int = 301
    deployment_id: str
    deployment_resource_type: str = "function"
    deployment_resource_id: str
    deployment_vcs_provider_branch: str
    status: str = "verified"
    logs: str = ""
    renew_at: str = ""
    protocol: str = "http"


def present(row: Mapping[str, Any]) -> RuleModel:
    """Return the model of a row of `rules` with its function's `deployment_id`."""
    return RuleModel(
        id=row["rule_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        domain=row["domain"],
        deployment_id=row["deployment_id"],
        deployment_resource_id=row["function_id"],
        deployment_vcs_provider_branch=row["branch"],
    )


QUERIES = sql.load(__package__, "queries.sql")
RULE = Lookup(QUERIES["rules"], 2)
_DEPLOYMENT = QUERIES["active"]

SCHEMA = schema(
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
    found = await call.services.reads.look_up(RULE, call.project_id, rule_id)
    call.seen(found.position)
    if not found.rows:
        raise RuleNotFound
    return encode(present(found.rows[0]))


async def read_rules(call: Call, page: Page, searched: str | None, *, counted: bool) -> bytes:
    """Return a page of rules as JSON."""
    mine = Sql("project_id = %s", (call.project_id,))
    scope = mine if searched is None else all_of([mine, search(searched, "rule_id || ' ' || domain")])
    columns = f"*, {_DEPLOYMENT} AS deployment_id"
    found = await read_list(call, page, SCHEMA, scope, counted=counted, columns=columns, cursor_scope=mine)
    return joined("rules", found.total, [encode(present(row)) for row in found.rows])


_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})+", re.ASCII)


class Domain:
    """The kind of a host name: at least two labels, returned in lower case. An address is no host name."""

    def parse(self, value: Any) -> str:
        name = value.strip().rstrip(".").lower() if isinstance(value, str) else ""
        if len(name) > 253 or not _NAME.fullmatch(name) or _is_address(name):
            raise ValidationError(self.describe())
        return name

    def describe(self) -> str:
        return "Value must be a valid domain: labels of letters, digits and hyphens, at least two, joined by dots"


LIST = list_parameters(SCHEMA, has_search=True)
CREATE = Parameters(domain=required(Domain()), functionId=required(Uid()), branch=optional(Text(255, 0), ""))
ONE = Parameters(ruleId=required(Uid()))


class RuleController(operation.ResourceController):
    path = "/v1/proxy/rules"

    @operation.get(scopes=RULES_READ, parameters=LIST)
    async def list_rules(self, call: Call) -> Answer:
        values = call.values
        return raw_json_answer(
            await read_rules(call, values["queries"], values["search"], counted=values["total"])
        )  # fmt: skip

    @operation.post("/function", scopes=RULES_WRITE, parameters=CREATE)
    async def create(self, call: Call) -> Answer:
        domain, function_id = call.values["domain"], call.values["functionId"]
        if domain == call.services.settings.functions_domain or is_own(domain, call.services.settings):
            raise ArgumentInvalid("Invalid `domain` param: This host name is the instance's own. Choose another one.")
        function = await read_parent(call, function_id)
        await require_proof(call, domain)
        rule_id = generate_id()
        recorded = await call.services.log.run(
            Rule.create,
            Rule.absent(call.project_id, rule_id),
            meta=await call.meta(),
            project_id=call.project_id,
            rule_id=rule_id,
            domain=domain,
            function_id=function_id,
            function_incarnation=function["sequence"],
            branch=call.values["branch"],
        )
        call.seen(recorded.position)
        return raw_json_answer(await read_rule(call, rule_id), status=201)

    @operation.get("/{ruleId:str}", scopes=RULES_READ, parameters=ONE)
    async def get(self, call: Call) -> Answer:
        return raw_json_answer(await read_rule(call, call.values["ruleId"]))

    @operation.delete("/{ruleId:str}", scopes=RULES_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        rule_id = call.values["ruleId"]
        _, meta = await asyncio.gather(read_rule(call, rule_id), call.meta())  # it went with its function, maybe
        recorded = await call.services.log.run(Rule.delete, Rule.key(call.project_id, rule_id), meta=meta)
        call.seen(recorded.position)
        return no_content()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


LABEL = "_annals-challenge"
PURPOSE = "domain-proof"
"""The purpose of the secret that proves domains: `vault.derive(project, PURPOSE)`."""


async def require_proof(call: Call, domain: str) -> None:
    """Raise RuleVerificationFailed if the instance requires a proof for the domain and finds none.

    Names below the instance's own functions domain need no proof.
    """
    settings = call.services.settings
    if settings.domain_verification == "none" or domain.endswith(f".{settings.functions_domain}"):
        return
    name, value = f"{LABEL}.{domain}", await _value(call, domain)
    if len(name) > LONGEST_NAME:
        raise RuleVerificationFailed(f"The domain is too long to be verified: {name} is not a valid DNS name.")
    wanted = f'Add the TXT record {name} with the value "{value}" and create the rule again once it can be looked up.'
    try:
        found = await call.services.text_records.of(name)
    except Unresolved as error:
        raise RuleVerificationFailed(f"The domain could not be verified: {error} {wanted}") from None
    if value not in found:
        raise RuleVerificationFailed(f"The domain is not verified yet. {wanted}")


async def _value(call: Call, domain: str) -> str:
    secret = await call.services.vault.derive(call.project_id, PURPOSE)
    return f"annals-verification={hmac.digest(secret, domain.encode(), hashlib.sha256).hex()}"
