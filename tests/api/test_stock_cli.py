"""The stock command-line tool against a running instance: signing in, pushing, pulling, running (around.md 3)."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.cli import PASSWORD, Cli, admin_of
from tests.instance import AnnalsInstance, annals, eventually

CODE = """
module.exports = async ({ req, res }) => res.text(`VERSION ${process.env.GREETING ?? ""} ${req.method} ${req.path}`);
"""


@pytest.fixture(scope="module")
def admin(annals_instance: AnnalsInstance, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Return the tool of an admin with a session of the console."""
    cli = Cli(tmp_path_factory.mktemp("admin"))
    cli.run("client", "--endpoint", annals_instance.endpoint)
    email = admin_of(annals_instance)
    output = cli.run("login", "--email", email, "--password", PASSWORD, "--endpoint", annals_instance.endpoint)
    assert f"Successfully signed in as {email}" in output
    cli.project_file(annals_instance.project)
    return cli


@pytest.fixture
def holder(annals_instance: AnnalsInstance, tmp_path: Path) -> Cli:
    """Return the tool of a user with an API key and no account."""
    cli = Cli(tmp_path)
    cli.project_file(annals_instance.project)
    cli.run("client", "--endpoint", annals_instance.endpoint, "--key", annals_instance.key)
    return cli


def function(function_id: str, **fields: Any) -> dict[str, Any]:
    """Return a function of a project file as `init function` writes it."""
    defaults: dict[str, Any] = {
        "$id": function_id,
        "name": function_id,
        "runtime": "node-22",
        "specification": "s-1vcpu-512mb",
        "execute": ["any"],
        "events": [],
        "scopes": ["users.read"],
        "schedule": "",
        "timeout": 15,
        "enabled": True,
        "logging": True,
        "entrypoint": "index.js",
        "commands": "",
        "path": f"functions/{function_id}",
    }
    return {**defaults, **fields}


def visit(instance: AnnalsInstance, domain: str, path: str) -> str:
    """Return the answer of a function's own address; names below localhost are this machine."""
    port = urlsplit(instance.endpoint).port
    reply = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Host": f"{domain}:{port}"}, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.text


def address_of(cli: Cli, function_id: str) -> str:
    query = f'{{"method":"equal","attribute":"deploymentResourceId","values":["{function_id}"]}}'
    [rule] = cli.json("proxy", "list-rules", "--queries", query)["rules"]
    return str(rule["domain"])


def test_pushed_function_has_its_variables_and_runs_at_its_own_address(
    annals_instance: AnnalsInstance, admin: Cli
) -> None:
    admin.project_file(annals_instance.project, function("pushed"))
    admin.code("functions/pushed", {"index.js": CODE.replace("VERSION", "one"), ".env": "GREETING=hello\n"})

    output = admin.run("push", "function", "--function-id", "pushed", "--with-variables", "--force")

    assert "Successfully pushed 1 functions" in output
    domain = address_of(admin, "pushed")
    assert domain.endswith(".functions.localhost")
    assert visit(annals_instance, domain, "/a?b=1") == "one hello GET /a"

    admin.code("functions/pushed", {"index.js": CODE.replace("VERSION", "two"), ".env": "GREETING=bye\n"})
    again = admin.run("push", "function", "--function-id", "pushed", "--with-variables", "--force")
    assert "Successfully pushed 1 functions" in again
    assert domain in again
    assert visit(annals_instance, domain, "/") == "two bye GET /"


def test_key_pushes_to_an_existing_function_and_pulls_it_back(annals_instance: AnnalsInstance, tmp_path: Path) -> None:
    made_project = annals("projects", "create", "--id", "pulls", "--json", "--data", str(annals_instance.data))
    project = json.loads(made_project.stdout)  # a pull takes all functions, so the project is new
    holder = Cli(tmp_path)
    holder.project_file(project["id"])
    holder.run("client", "--endpoint", annals_instance.endpoint, "--key", project["key"])
    made = [
        *("functions", "create", "--function-id", "pulled", "--name", "pulled", "--runtime", "node-22"),
        *("--entrypoint", "index.js"),
    ]
    holder.run(*made)
    holder.project_file(project["id"], function("pulled"))
    holder.code("functions/pulled", {"index.js": CODE})
    holder.run("push", "function", "--function-id", "pulled", "--force")
    (holder.folder / "functions/pulled/index.js").unlink()

    output = holder.run("pull", "function", "--all", "--force")

    assert "Successfully pulled" in output
    assert (holder.folder / "functions/pulled/index.js").read_text() == CODE


def test_function_commands_of_the_tool_are_served(annals_instance: AnnalsInstance, holder: Cli) -> None:
    holder.run(
        *("functions", "create", "--function-id", "piecewise", "--name", "piecewise", "--runtime", "node-22"),
        *("--entrypoint", "index.js", "--execute", "any"),
    )
    holder.code("code", {"index.js": CODE.replace("VERSION", "three")})
    made = holder.json(
        *("functions", "create-deployment", "--function-id", "piecewise", "--code", "code", "--activate", "true")
    )
    assert made["type"] == "cli"
    one = ("functions", "get-deployment", "--function-id", "piecewise", "--deployment-id", made["$id"])
    eventually(lambda: holder.json(*one)["status"] == "ready", 180)

    variable = holder.json(
        *("functions", "create-variable", "--function-id", "piecewise", "--key", "GREETING", "--value", "hi"),
        *("--secret", "false"),
    )
    ran = holder.json("functions", "create-execution", "--function-id", "piecewise", "--xpath", "/x", "--method", "PUT")
    assert (ran["status"], ran["responseBody"]) == ("completed", "three hi PUT /x")
    named = ("--function-id", "piecewise", "--variable-id", variable["$id"])
    assert holder.json("functions", "get-variable", *named)["value"] == "hi"
    assert holder.json("functions", "list-executions", "--function-id", "piecewise")["total"] == 1
    assert holder.json("functions", "list-runtimes")["total"] > 0
    assert holder.json("functions", "list-specifications")["total"] > 0
    assert holder.json("functions", "list-templates")["total"] > 0
    assert holder.json("functions", "get-template", "--template-id", "starter")["id"] == "starter"
    assert holder.json("functions", "list-usage", "--range", "24h")["functionsTotal"] > 0
    assert holder.json("functions", "get-usage", "--function-id", "piecewise")["executionsTotal"] == 1
    holder.run("functions", "delete-variable", *named)
    holder.run("functions", "delete", "--function-id", "piecewise")
    assert "could not be found" in holder.run("functions", "get", "--function-id", "piecewise", fails=True)


def test_local_run_of_a_function_gets_keys_and_tokens(annals_instance: AnnalsInstance, admin: Cli) -> None:
    user = admin.json("users", "create", "--user-id", "unique()", "--email", "runner@project.test")

    token = admin.json("users", "create-jwt", "--user-id", user["$id"], "--duration", "3600")["jwt"]
    project = annals_instance.project
    made = admin.json("projects", "create-jwt", "--project-id", project, "--scopes", "users.read", "--duration", "3600")

    headers = {"X-Appwrite-Project": project}
    users = httpx.get(f"{annals_instance.endpoint}/users", headers={**headers, "X-Appwrite-Key": made["jwt"]})
    assert users.status_code == 200, users.text
    me = httpx.get(f"{annals_instance.endpoint}/account", headers={**headers, "X-Appwrite-JWT": token})
    assert me.json()["$id"] == user["$id"]


def test_admin_sees_the_instance(admin: Cli) -> None:
    assert "Ada" in admin.run("whoami")
    assert admin.json("health", "get")["status"] == "pass"
    assert admin.json("console", "variables")["_APP_DOMAIN_FUNCTIONS"] == "functions.localhost"
    assert isinstance(admin.json("teams", "list")["teams"], list)
