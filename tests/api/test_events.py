"""Functions that events trigger, on a running instance."""

import json
from collections.abc import Iterator

import pytest

from tests.api import code
from tests.client import JSON, Client
from tests.instance import AnnalsInstance, eventually

API_VERSIONS = ("1.8.0", "2.5.0")
"""The API versions in which the execution is read, beside none: an event has no version, but its answers have."""


@pytest.fixture
def client(annals_instance: AnnalsInstance) -> Iterator[Client]:
    client = Client(annals_instance.endpoint, annals_instance.headers)
    yield client
    client.http.close()


@pytest.mark.behaviours(133, 134)
def test_created_user_triggers_a_subscribed_function_until_its_deletion(client: Client) -> None:
    client.function("welcome", code.ECHO, events=["users.*.create"])
    user = client.call("POST", "/users", json={"userId": "unique()", "email": "welcome@events.test", "name": "Grace"})

    def triggered() -> list[JSON]:
        found = client.call("GET", "/functions/welcome/executions")["executions"]
        return [one for one in found if one["status"] == "completed"]

    [execution] = eventually(triggered, 90)
    assert execution["trigger"] == "event"
    for version in API_VERSIONS:
        headers = {"x-appwrite-response-format": version}
        [shown] = client.call("GET", "/functions/welcome/executions", headers=headers)["executions"]
        assert {name: execution[name] for name in shown} == shown
    seen = json.loads(execution["logs"].splitlines()[0])
    assert seen["headers"]["x-appwrite-event"] == f"users.{user['$id']}.create"
    payload = json.loads(seen["body"])
    assert (payload["$id"], payload["name"], payload["email"]) == (user["$id"], "Grace", "welcome@events.test")

    client.call("DELETE", "/functions/welcome")
    client.function("welcome", code.ECHO)
    client.function("witness", code.ECHO, events=["users.*.create"])
    client.call("POST", "/users", json={"userId": "unique()", "email": "later@events.test"})

    def witnessed() -> bool:
        return bool(client.call("GET", "/functions/witness/executions")["total"])

    eventually(witnessed, 90)  # by now every subscriber of the event has an execution
    assert client.call("GET", "/functions/welcome/executions")["total"] == 0
