"""The operations on rules."""

import asyncio
import ipaddress
import re
from typing import Any

from annals.app.edge import operation
from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.executions.queries import FUNCTION
from annals.app.hosts.domain_request import is_own
from annals.app.identity.scopes import RULES_READ, RULES_WRITE
from annals.app.parameters import Boolean, Parameters, Text, Uid, ValidationError, optional, required
from annals.app.proxy import queries
from annals.app.proxy.proof import require_proof
from annals.app.queries.page import ListQueries, Page
from annals.domain.commands.functions import create_rule, delete_rule
from annals.domain.errors import ArgumentInvalid, FunctionNotFound
from annals.domain.rule import Rule
from annals.store.ids import generate_id

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})+", re.ASCII)


class Domain:
    """A host name of at least two labels, in lower case afterwards; an address is none."""

    def parse(self, value: Any) -> str:
        name = value.strip().rstrip(".").lower() if isinstance(value, str) else ""
        if len(name) > 253 or not _NAME.fullmatch(name) or _is_address(name):
            raise ValidationError(self.describe())
        return name

    def describe(self) -> str:
        return "Value must be a valid domain: labels of letters, digits and hyphens, at least two, joined by dots"


LIST = Parameters(
    queries=optional(ListQueries(queries.LIST), Page()),
    search=optional(Text(256)),
    total=optional(Boolean(loose=True), True),
)
CREATE = Parameters(domain=required(Domain()), functionId=required(Uid()), branch=optional(Text(255, 0), ""))
ONE = Parameters(ruleId=required(Uid()))


class RuleController(operation.ResourceController):
    path = "/v1/proxy/rules"

    @operation.get(scopes=RULES_READ, parameters=LIST)
    async def list_rules(self, call: Call) -> Answer:
        values = call.values
        return raw_json_answer(
            await queries.read_rules(call, values["queries"], values["search"], counted=values["total"])
        )  # fmt: skip

    @operation.post("/function", scopes=RULES_WRITE, parameters=CREATE)
    async def create(self, call: Call) -> Answer:
        domain, function_id = call.values["domain"], call.values["functionId"]
        if domain == call.services.settings.functions_domain or is_own(domain, call.services.settings):
            raise ArgumentInvalid("Invalid `domain` param: This host name is the instance's own. Choose another one.")
        function = await call.services.reads.look_up(FUNCTION, call.project_id, function_id)
        if not function.rows:
            raise FunctionNotFound
        await require_proof(call, domain)
        rule_id = generate_id()
        recorded = await call.services.log.run(
            create_rule,
            Rule.absent(call.project_id, rule_id),
            meta=await call.meta(),
            project_id=call.project_id,
            rule_id=rule_id,
            domain=domain,
            function_id=function_id,
            function_incarnation=function.rows[0]["sequence"],
            branch=call.values["branch"],
        )
        call.seen(recorded.position)
        return raw_json_answer(await queries.read_rule(call, rule_id), status=201)

    @operation.get("/{ruleId:str}", scopes=RULES_READ, parameters=ONE)
    async def get(self, call: Call) -> Answer:
        return raw_json_answer(await queries.read_rule(call, call.values["ruleId"]))

    @operation.delete("/{ruleId:str}", scopes=RULES_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        rule_id = call.values["ruleId"]
        _, meta = await asyncio.gather(
            queries.read_rule(call, rule_id), call.meta()
        )  # it went with its function, maybe
        recorded = await call.services.log.run(delete_rule, Rule.key(call.project_id, rule_id), meta=meta)
        call.seen(recorded.position)
        return no_content()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
