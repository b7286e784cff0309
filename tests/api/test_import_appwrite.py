"""The import from a running instance with the same public API, and its report of the items that do not move."""

import json
from typing import Any

from tests.client import Client
from tests.instance import AnnalsInstance, annals

CODE = "export default async ({ res }) => res.json({ greeting: process.env.GREETING ?? 'none' });"
PREFIX = "mv-"


def projects(instance: AnnalsInstance, *names: str) -> list[tuple[str, str]]:
    made = []
    for name in names:
        answer = annals("projects", "create", "--id", name, "--json", "--data", str(instance.data))
        assert answer.returncode == 0, answer.stderr
        made.append((name, str(json.loads(answer.stdout)["key"])))
    return made


def client(instance: AnnalsInstance, project: str, key: str) -> Client:
    return Client(instance.endpoint, {"X-Appwrite-Project": project, "X-Appwrite-Key": key})


def moved(instance: AnnalsInstance, source: tuple[str, str], target: tuple[str, str], *options: str) -> Any:
    answer = annals(
        *("import-appwrite", "--endpoint", instance.endpoint, "--project", source[0], "--key", source[1]),
        *("--to", *target, "--data", str(instance.data), "--json", *options),
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_wrong_target_key_is_reported_before_the_move(annals_instance: AnnalsInstance) -> None:
    (source,) = projects(annals_instance, "mv-locked")
    there = ("import-appwrite", "--endpoint", annals_instance.endpoint, "--project", source[0], "--key", source[1])
    data = ("--data", str(annals_instance.data))

    here = annals(*there, "--to", source[0], "wrong", *data)

    assert here.returncode == 1
    assert "This instance refuses" in here.stderr


def test_functions_move_with_variables_and_sources(annals_instance: AnnalsInstance) -> None:
    source, target = projects(annals_instance, "mv-source", "mv-target")
    there, here = client(annals_instance, *source), client(annals_instance, *target)
    there.function("greet", CODE, schedule="0 0 1 1 *", timeout=20)
    there.deploy("greet", {"index.js": "export default async ({ res }) => res.text('old');"}, activate="false")
    path = "/functions/greet/variables"
    there.call("POST", path, json={"key": "GREETING", "value": "hello", "secret": False, "variableId": "unique()"})
    there.call("POST", path, json={"key": "TOKEN", "value": "hidden", "secret": True, "variableId": "unique()"})

    report = moved(annals_instance, source, target)
    again = moved(annals_instance, source, target)

    came = {(one["kind"], one["id"].split("/")[-1]): (one["came"], one["why"]) for one in report["findings"]}
    assert came["function", "greet"] == (True, "")
    assert came["variable", "GREETING"] == (True, "")
    assert came["variable", "TOKEN"][0] is False
    assert came["setting", "schedule"][0] is False
    assert sorted(one["came"] for one in report["findings"] if one["kind"] == "deployment") == [False, True]
    function = here.call("GET", "/functions/greet")
    assert (function["timeout"], function["schedule"]) == (20, "")
    (deployment,) = here.call("GET", "/functions/greet/deployments")["deployments"]
    here.ready("greet", deployment["$id"])
    assert json.loads(here.execute("greet", method="GET")["responseBody"]) == {"greeting": "hello"}
    assert [(one["kind"], one["came"]) for one in again["findings"]] == [("function", False)]


def test_project_variables_and_policies_move_and_domains_are_listed_as_left(annals_instance: AnnalsInstance) -> None:
    source, target = projects(annals_instance, "mv-around", "mv-around-target")
    there, here = client(annals_instance, *source), client(annals_instance, *target)
    there.call("POST", "/functions", json={"functionId": "plain", "name": "plain", "runtime": "node-22"})
    there.function("shared", CODE)
    for key, secret in (("GREETING", False), ("TOKEN", True)):
        variable = {"variableId": "unique()", "key": key, "value": "everywhere", "secret": secret}
        there.call("POST", "/project/variables", json=variable)
    traffic = [{"deploymentId": there.call("GET", "/functions/shared")["deploymentId"], "percent": 5}]
    policy = {"retries": {"attempts": 3, "on": ["timeout"]}, "scaling": {"concurrency": 2}, "traffic": traffic}
    there.call("PUT", "/functions/shared/policy", json=policy)
    there.call("POST", "/proxy/rules/function", json={"domain": "moving.example.test", "functionId": "shared"})

    report = moved(annals_instance, source, target)

    found = {(one["kind"], one["id"]): (one["came"], one["why"]) for one in report["findings"]}
    assert found["variable", "project/GREETING"] == (True, "")
    assert found["variable", "project/TOKEN"][0] is False
    assert found["policy", "shared"] == (True, "")
    assert ("policy", "plain") not in found
    assert found["setting", "shared/traffic"][0] is False
    came, why = found["domain", "moving.example.test"]
    assert (came, "function shared" in why) == (False, True)
    moved_policy = here.call("GET", "/functions/shared/policy")
    assert (moved_policy["retries"]["attempts"], moved_policy["retries"]["on"]) == (3, ["timeout"])
    assert (moved_policy["scaling"]["concurrency"], moved_policy["traffic"]) == (2, [])
    shown = here.call("GET", "/project/variables")["variables"]
    assert [(one["key"], one["value"]) for one in shown] == [("GREETING", "everywhere")]


def test_domains_and_project_variables_that_cannot_be_listed_are_reported(annals_instance: AnnalsInstance) -> None:
    source, target = projects(annals_instance, "mv-narrow", "mv-narrow-target")
    made = annals(
        *("keys", "create", "--project", source[0], "--scope", "functions.read"),
        *("--json", "--data", str(annals_instance.data)),
    )
    assert made.returncode == 0, made.stderr

    report = moved(annals_instance, (source[0], json.loads(made.stdout)["secret"]), target)

    found = {(one["kind"], one["id"]): one for one in report["findings"]}
    for kind, name, scope in (("variable", "project/*", "project.read"), ("domain", "*", "rules.read")):
        assert found[kind, name]["came"] is False
        assert scope in found[kind, name]["why"]


def test_unreachable_source_instance_is_an_error_message(annals_instance: AnnalsInstance) -> None:
    answer = annals(
        *("import-appwrite", "--endpoint", "http://127.0.0.1:9/v1", "--project", "p", "--key", "k"),
        *("--data", str(annals_instance.data)),
    )

    assert answer.returncode == 1
    assert "http://127.0.0.1:9/v1 cannot be reached" in answer.stderr
