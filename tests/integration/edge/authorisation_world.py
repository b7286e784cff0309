"""Two projects with one resource of every kind, deleted resources, and one caller of every kind."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from annals.app.identity.secret_keys import digest
from annals.app.services import Services
from annals.cli.users import make_admin
from annals.domain.project import ApiKey, Project
from annals.domain.scopes import PROJECT_SCOPES
from annals.store.log.archives import Archives
from annals.store.log.log import Meta
from tests.client import form
from tests.integration.edge import given
from tests.integration.edge.authorisation_table import TABLE, Row
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.given import installation, signed_in, user
from tests.integration.edge.test_as_of import follow
from tests.integration.proof.sealed import Sealed

Ids = dict[str, str]
META = Meta(actor="test")
_FIXED = {
    "templateId": "starter",
    "serviceId": "functions",
    "protocolId": "rest",
    "buildId": "any",
    "file_path": "swagger-ui.css",
}


class World:
    """`own`, `foreign`, `sibling` (of another parent in the own project) and `gone` (deleted) are ids by kind."""

    def __init__(self, services: Services, anonymous: Client) -> None:
        self.services, self._anonymous = services, anonymous
        self.keys = {p: anonymous.with_(x_appwrite_project=p, x_appwrite_key=f"{p}-all") for p in ("p1", "p2")}
        self.callers: dict[str, Client] = {}
        self.own: Ids = {}
        self.sibling: Ids = {}
        self.gone: Ids = {}
        self.foreign: Ids = {}

    async def fill(self) -> None:
        """Create everything over HTTP. The tests change nothing afterwards."""
        key = self.keys["p1"]
        await self._people(key)
        self.own = await self._things("p1", "member")
        self.sibling = await self._things("p1", "owner")
        self.foreign = await self._things("p2", "foreigner")
        self.sibling |= {name: self.foreign[name] for name in ("keyId", "platformId", "strangerId")}
        self.sibling["projectVariableId"] = self.own["variableId"]
        self.gone = await self._deleted(key)
        await self._keys()
        await follow(self.services)
        archives = Archives(self.services.database, self.services.blobs)
        sealed = await Sealed(self.services.log, archives, self.services.settings.folder).seal()
        self.own["checkpoint"] = str(sealed.size)

    async def _people(self, key: Client) -> None:
        guest = key.with_(x_appwrite_key=None)
        for name in ("user", "member", "owner"):
            await user(key, name, email=f"{name}@x.test", password="password8")
            self.callers[name] = await signed_in(key, name)
        await user(self.keys["p2"], "foreigner")
        over = await key.post("/v1/users/user/sessions")
        await key.delete(f"/v1/users/user/sessions/{over.json['$id']}")
        self.callers["no credential"] = guest
        self.callers["guest session"] = guest.with_(x_appwrite_session=over.json["secret"])
        admin = {"email": "root@x.test", "password": "password8"}
        await make_admin(self.services.log, self.services.settings, name="Root", **admin)
        console = self._anonymous.with_(x_appwrite_project="console")
        signed = await console.post("/v1/account/sessions/email", **admin)
        console = console.with_(cookie=signed.headers["set-cookie"])
        self.callers["console"] = console
        self.callers["admin"] = console.with_(x_appwrite_project="p1", x_appwrite_mode="admin")

    async def _things(self, project: str, user_id: str) -> Ids:
        """Create one resource of every kind in a project, children of a function, user and team of their own."""
        key, console = self.keys[project], self.callers["console"]
        function_id = await given.function(key, execute=["team:team-of-member/dev"])
        deployment_id = await given.upload(key, function_id)
        await given.built(self.services, project, deployment_id)
        variable = await key.post(f"/v1/functions/{function_id}/variables", variableId="unique()", key="A", value="1")
        team_id = f"team-of-{user_id}"
        await key.post("/v1/teams", teamId=team_id, name="T")
        member = await key.post(f"/v1/teams/{team_id}/memberships", userId=user_id, roles=["dev"])
        if user_id == "member":
            await key.post(f"/v1/teams/{team_id}/memberships", userId="owner", roles=["owner"])
        runner = self.callers["member"] if user_id == "member" else key
        execution = await given.execute(runner, function_id)
        assert execution.status == 201, execution.body
        session = await key.post(f"/v1/users/{user_id}/sessions")
        domain = f"{function_id}.example.org"
        rule = await key.post("/v1/proxy/rules/function", domain=domain, functionId=function_id)
        made_key = await console.post(f"/v1/projects/{project}/keys", name="k", scopes=["functions.read"])
        platform = await console.post(
            f"/v1/projects/{project}/platforms", type="web", name="w", hostname=f"{user_id}.test"
        )
        return {
            "functionId": function_id,
            "deploymentId": deployment_id,
            "executionId": execution.json["$id"],
            "variableId": variable.json["$id"],
            "ruleId": rule.json["$id"],
            "userId": user_id,
            "sessionId": session.json["$id"],
            "teamId": team_id,
            "membershipId": member.json["$id"],
            "projectId": project,
            "keyId": made_key.json["$id"],
            "platformId": platform.json["$id"],
            "installationId": await installation(key),
            "position": rule.headers["x-annals-position"],
            "projectVariableId": await self._project_variable(key),
            "strangerId": "user" if user_id == "member" else user_id,
        }

    async def _project_variable(self, key: Client) -> str:
        number = len(self.own) + len(self.sibling)
        made = await key.post("/v1/project/variables", variableId="unique()", key=f"P{number}", value="1")
        return str(made.json["$id"])

    async def _deleted(self, key: Client) -> Ids:
        """Create and delete resources; return their ids: children of the own function, user and team, and resources
        of their own."""
        own, console = self.own, self.callers["console"]
        function_id = await given.function(key)
        inside = f"/v1/functions/{own['functionId']}"
        await user(key, "leaver")
        await key.post("/v1/teams", teamId="left", name="L")
        await console.post("/v1/projects", projectId="ended", name="E")
        deployment_id = await given.upload(key, own["functionId"], activate="false")
        made = {
            "executionId": (await given.execute(key, own["functionId"])).json["$id"],
            "variableId": (await key.post(f"{inside}/variables", variableId="unique()", key="G", value="1")).json[
                "$id"
            ],
            "ruleId": (
                await key.post("/v1/proxy/rules/function", domain="gone.example.org", functionId=own["functionId"])
            ).json["$id"],
            "sessionId": (await key.post(f"/v1/users/{own['userId']}/sessions")).json["$id"],
            "membershipId": (await key.post(f"/v1/teams/{own['teamId']}/memberships", userId="user", roles=[])).json[
                "$id"
            ],
            "keyId": (await console.post("/v1/projects/p1/keys", name="g", scopes=[])).json["$id"],
            "platformId": (
                await console.post("/v1/projects/p1/platforms", type="web", name="g", hostname="gone.test")
            ).json["$id"],
            "projectVariableId": await self._project_variable(key),
            "installationId": await installation(key),
        }
        for path in (
            f"/v1/functions/{function_id}",
            f"{inside}/deployments/{deployment_id}",
            f"{inside}/executions/{made['executionId']}",
            f"{inside}/variables/{made['variableId']}",
            f"/v1/proxy/rules/{made['ruleId']}",
            f"/v1/users/{own['userId']}/sessions/{made['sessionId']}",
            f"/v1/teams/{own['teamId']}/memberships/{made['membershipId']}",
            f"/v1/project/platforms/{made['platformId']}",
            f"/v1/project/variables/{made['projectVariableId']}",
            f"/v1/vcs/installations/{made['installationId']}",
            "/v1/users/leaver",
            "/v1/teams/left",
        ):
            assert (await key.delete(path)).status == 204, path
        for path in (f"/v1/projects/p1/keys/{made['keyId']}", "/v1/projects/ended"):
            assert (await console.delete(path)).status == 204, path
        whole = {"functionId": function_id, "userId": "leaver", "strangerId": "leaver", "teamId": "left"}
        return {**made, **whole, "projectId": "ended", "deploymentId": deployment_id, "position": str(10**9)}

    async def _keys(self) -> None:
        """Create keys with each scope alone and without a route's scopes, an expired key, and one of the other
        project."""
        over = self.services.now() - timedelta(seconds=1)
        held = [(scope, [scope], None) for scope in PROJECT_SCOPES]
        for needed in {scopes for row in TABLE.values() for scopes in (row.scopes, row.besides) if scopes}:
            others = [scope for scope in PROJECT_SCOPES if scope not in needed.split()]
            held.append((f"without {needed}", others, None))
        for name, scopes, expires in (*held, ("expired", list(PROJECT_SCOPES), over)):
            made = ApiKey(key_id=name, name=name, digest=digest(f"standard_{name}"), scopes=scopes, expires_at=expires)
            await self.services.log.run(Project.add_key, Project.key("p1"), meta=META, key=made)
            self.callers[f"key {name}"] = self.keys["p1"].with_(x_appwrite_key=f"standard_{name}")
        self.callers["key of another project"] = self.keys["p1"].with_(x_appwrite_key="p2-all")
        self.callers["key"] = self.keys["p1"]

    async def ask(self, caller: Client, route: str, row: Row, ids: Mapping[str, str]) -> Reply:
        """Send one request of a route about these ids. Writes are dry runs."""
        method, path = route.split(" ")
        ids = {**ids, "variableId": ids["projectVariableId"]} if path.startswith("/v1/project/") else ids
        filled = re.sub(r"\{(\w+)\}", lambda match: _FIXED.get(match[1]) or ids[match[1]], path)
        query = {name: _named(value, ids) for name, value in row.query.items()}
        if method == "GET":
            return await caller.send(method, filled, query=urlencode(query))
        query["dryRun"] = "true"
        if route == "POST /v1/functions/{functionId}/deployments":
            kind, body = form({"activate": "true"}, given.SOURCE, "code.tar.gz")
        else:
            sent = {name: _named(value, ids) for name, value in row.body.items()}
            kind, body = "application/json", msgspec.json.encode(sent)
        return await caller.send(method, filled, query=urlencode(query), content_type=kind, body=body)


def _named(value: Any, ids: Mapping[str, str]) -> Any:
    return ids[value[1:]] if isinstance(value, str) and value.startswith("@") else value


def objects(route: str, row: Row) -> list[str]:
    """Return the kinds of things that a request of a route names. A position that is a moment has no owner."""
    in_path = [name for name in re.findall(r"\{(\w+)\}", route) if name not in _FIXED]
    in_body = [value[1:] for value in row.body.values() if isinstance(value, str) and value.startswith("@")]
    named = [*in_path, *(name for name in in_body if name != "position")]
    of_project = " /v1/project/" in route
    return ["projectVariableId" if name == "variableId" and of_project else name for name in named]
