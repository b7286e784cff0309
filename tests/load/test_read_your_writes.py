"""A write through one API process is read at once through another, which read the former state before."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.api.cli import PASSWORD, admin_of
from tests.client import JSON, Client, packed
from tests.instance import AnnalsInstance, annals, another_api

pytestmark = pytest.mark.timeout(300)
PROJECT = "two-processes"
CODE = "module.exports = async ({ res }) => res.text(`VERSION ${process.env.GREETING ?? ''}`);"
FUNCTION = {"functionId": "one", "name": "fn", "runtime": "node-22", "entrypoint": "index.js"}


class Pair:
    """A client of each of two processes. The reader has read the same resource just before each write."""

    def __init__(self, writer: httpx.Client, reader: httpx.Client) -> None:
        self.writer, self.reader = writer, reader
        self.position = 0

    @property
    def swapped(self) -> "Pair":
        return Pair(self.reader, self.writer)

    def as_(self, **headers: str) -> "Pair":
        """Return clients of the same processes for another caller."""
        named = {"x-appwrite-project": PROJECT} | {f"x-appwrite-{name}": value for name, value in headers.items()}
        urls = (self.writer.base_url, self.reader.base_url)
        return Pair(*(httpx.Client(base_url=url, headers=named, timeout=150) for url in urls))

    def write(self, method: str, path: str, **sent: Any) -> JSON:
        answer = self.writer.request(method, path, **sent)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        self.position = int(answer.headers.get("x-annals-position", self.position))
        return answer.json() if answer.content else {}

    def read(self, path: str) -> JSON:
        """Return the answer of the other process, and check that it covers the log up to the last write."""
        answer = self.reader.get(path)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        assert int(answer.headers["x-annals-position"]) >= self.position, path
        body: JSON = answer.json()
        return body

    def refused(self, path: str) -> tuple[int, str]:
        answer = self.reader.get(path)
        return answer.status_code, answer.json().get("type", "")

    def run(self) -> str:
        """Return the answer of a synchronous call of `shared` through the other process, or the type of its error."""
        answer = self.reader.post("/functions/shared/executions", json={"path": "/"})
        return str(answer.json().get("responseBody", answer.json().get("type")))


@pytest.fixture(scope="module")
def both(annals_instance: AnnalsInstance) -> Iterator[Pair]:
    """Return clients of both processes with the key of a new project, which has a function, a user and a team."""
    made = annals("projects", "create", "--id", PROJECT, "--json", "--data", str(annals_instance.data))
    headers = {"x-appwrite-project": PROJECT, "x-appwrite-key": json.loads(made.stdout)["key"]}
    with another_api(annals_instance) as other:
        clients = [Client(endpoint, headers) for endpoint in (annals_instance.endpoint, other)]
        clients[0].function("shared", CODE.replace("VERSION", "first"))
        clients[0].call("POST", "/users", json={"userId": "shared", "email": "shared@x.test"})
        clients[0].call("POST", "/teams", json={"teamId": "shared", "name": "shared"})
        yield Pair(*(client.http for client in clients))


@pytest.fixture(scope="module")
def console(annals_instance: AnnalsInstance, both: Pair) -> Pair:
    """Return clients of an admin with a session of the console."""
    admins = both.as_(project="console")
    credentials = {"email": admin_of(annals_instance), "password": PASSWORD}
    admins.write("POST", "/account/sessions/email", json=credentials)
    admins.reader.cookies = admins.writer.cookies
    return admins


class Resource(NamedTuple):
    """A resource: the path of its list, the parameter of its id, and the bodies that create and change it."""

    path: str
    id: str
    made: JSON
    change: tuple[str, str, JSON] | None = None
    below: str = ""
    of_the_console: bool = False
    alone: bool = True
    """True if it can be read by id, and not only in the list."""


VALUES: list[JSON] = [{"key": "K", "value": value, "secret": False} for value in "12"]
RESOURCES = {
    "function": Resource("/functions", "functionId", FUNCTION, ("PUT", "", {"name": "other"})),
    "policy": Resource("/functions", "functionId", FUNCTION, ("PUT", "/policy", {"retries": {"attempts": 3}})),
    "variable": Resource("/functions/shared/variables", "variableId", VALUES[0], ("PUT", "", VALUES[1])),
    "variable of all": Resource("/project/variables", "variableId", VALUES[0], ("PUT", "", VALUES[1])),
    "user": Resource("/users", "userId", {"email": "a@x.test"}, ("PATCH", "/email", {"email": "b@x.test"})),
    "session": Resource("/users/shared/sessions", "", {}, alone=False),
    "team": Resource("/teams", "teamId", {"name": "one"}, ("PUT", "", {"name": "other"})),
    "membership": Resource(
        "/teams/shared/memberships", "", {"userId": "shared", "roles": ["a"]}, ("PATCH", "", {"roles": ["b"]})
    ),
    "platform": Resource("/project/platforms", "platformId", {"name": "w", "hostname": "two.test"}, below="/web"),
    "rule": Resource("/proxy/rules", "", {"domain": "two.test", "functionId": "shared"}, below="/function"),
    "key": Resource(f"/projects/{PROJECT}/keys", "", {"name": "k", "scopes": ["users.read"]}, of_the_console=True),
    "project": Resource(
        "/projects", "projectId", {"name": "one"}, ("PATCH", "", {"name": "other"}), of_the_console=True
    ),
}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", RESOURCES)
def test_resource_changes_are_visible_at_once_through_another_process(
    both: Pair, console: Pair, name: str, *, swapped: bool
) -> None:
    resource = RESOURCES[name]
    pair = console if resource.of_the_console else both
    pair = pair.swapped if swapped else pair
    own = {resource.id: f"one-{int(swapped)}"} if resource.id else {}

    def listed(own_id: str) -> JSON | None:
        (rows,) = (value for value in pair.read(resource.path).values() if isinstance(value, list))
        return next((plain(row) for row in rows if row["$id"] == own_id), None)

    assert listed("unknown") is None
    made = plain(pair.write("POST", f"{resource.path}{resource.below}", json={**resource.made, **own}))
    path = f"{resource.path}/{made['$id']}"
    assert listed(made["$id"]) == made
    if resource.alone:
        assert plain(pair.read(path)) == made

    if resource.change is not None:
        method, below, sent = resource.change
        changed = plain(pair.write(method, path + below, json=sent))
        assert changed != made
        if "$id" in changed:
            assert listed(made["$id"]) == changed
            assert plain(pair.read(path)) == changed
        else:
            assert pair.read(path + below) == changed

    pair.write("DELETE", path)
    assert listed(made["$id"]) is None
    if resource.alone:
        assert pair.refused(path)[0] == 404


def plain(answer: JSON) -> JSON:
    """Return the answer without a secret, which only the creation shows."""
    return {name: value for name, value in answer.items() if name != "secret"}


def test_deployment_changes_are_visible_at_once_through_another_process(both: Pair) -> None:
    path = "/functions/shared/deployments"
    assert both.run() == "first "
    first = both.read("/functions/shared")["deploymentId"]
    code = {"code": ("code.tar.gz", packed({"index.js": CODE.replace("VERSION", "second")}), "application/gzip")}
    made = both.write("POST", path, files=code, data={"activate": "false"})["$id"]

    assert both.read(f"{path}/{made}")["sourceSize"] == len(code["code"][1])
    assert made in [row["$id"] for row in both.read(path)["deployments"]]
    writer = Client(str(both.writer.base_url), both.writer.headers)
    built = writer.ready("shared", made)
    assert both.read(f"{path}/{made}") == built
    for own_id, answered in ((made, "second "), (first, "first "), (made, "second ")):
        both.write("PATCH", "/functions/shared/deployment", json={"deploymentId": own_id})
        assert both.read("/functions/shared")["deploymentId"] == own_id
        assert both.run() == answered
    both.write("DELETE", f"{path}/{first}")
    assert both.refused(f"{path}/{first}") == (404, "deployment_not_found")
    assert [row["$id"] for row in both.read(path)["deployments"]] == [made]


@pytest.mark.parametrize("path", ["/functions/shared/variables", "/project/variables"])
def test_call_after_a_variable_change_sees_the_new_value(both: Pair, path: str) -> None:
    before = both.run()
    sent = {"variableId": "greeting", "key": "GREETING", "value": "0", "secret": True}
    both.write("POST", path, json=sent)
    assert both.run() == f"{before}0"
    for number in range(1, 6):
        both.write("PUT", f"{path}/greeting", json={"key": "GREETING", "value": str(number)})
        assert both.run() == f"{before}{number}"
    both.write("DELETE", f"{path}/greeting")
    assert both.run() == before


def test_execute_roles_and_enabled_changed_through_one_process_hold_at_once_in_another(both: Pair) -> None:
    answered = both.run()
    stranger = both.as_()
    for execute, answer in ((["any"], answered), ([], "user_unauthorized"), (["any"], answered)):
        both.write("PUT", "/functions/shared", json={"name": "shared", "execute": execute})
        assert stranger.run() == answer
    for enabled, answer in ((False, "function_not_found"), (True, answered)):
        both.write("PUT", "/functions/shared", json={"name": "shared", "execute": ["any"], "enabled": enabled})
        assert stranger.run() == answer


def test_revoked_key_is_refused_at_once_by_another_process(both: Pair, console: Pair) -> None:
    path = f"/projects/{PROJECT}/keys"
    made = console.write("POST", path, json={"name": "k", "scopes": ["users.read"]})
    own = both.as_(key=made["secret"])
    assert own.read("/users/shared")["$id"] == "shared"

    console.write("DELETE", f"{path}/{made['$id']}")

    assert own.refused("/users/shared") == (401, "user_unauthorized")


def test_signed_out_or_blocked_user_is_refused_at_once_by_another_process(both: Pair) -> None:
    session = both.write("POST", "/users/shared/sessions")
    own = both.as_(session=session["secret"])
    assert own.read("/account")["$id"] == "shared"
    both.write("PATCH", "/users/shared/name", json={"name": "Ada"})
    assert own.read("/account")["name"] == "Ada"
    both.write("PATCH", "/users/shared/status", json={"status": False})
    assert own.refused("/account") == (403, "user_blocked")
    both.write("PATCH", "/users/shared/status", json={"status": True})
    assert own.read("/account")["$id"] == "shared"
    both.write("DELETE", f"/users/shared/sessions/{session['$id']}")
    assert own.refused("/account")[0] == 401


def test_past_states_written_through_one_process_are_read_through_another(both: Pair) -> None:
    names = [f"name {number}" for number in range(5)]
    positions = []
    for name in names:
        both.write("PUT", "/functions/shared", json={"name": name})
        positions.append(both.position)
    assert positions == sorted(set(positions))
    past = [both.reader.get("/functions/shared", params={"asOf": position}).json()["name"] for position in positions]
    assert past == names
