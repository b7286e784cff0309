"""A project is deleted and created again: neither of two API processes uses its cached data key of the former one."""

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from tests.instance import AnnalsInstance, annals, another_api

PROJECT = "reused"
ADMIN = {"email": "owner@reuse.test", "password": "right horse"}
VARIABLE = "/project/variables"


@pytest.fixture(scope="module")
def consoles(annals_instance: AnnalsInstance) -> Iterator[list[httpx.Client]]:
    """Sign an admin in, and yield a client for each API process."""
    words = ("--email", ADMIN["email"], "--password", ADMIN["password"], "--data", str(annals_instance.data))
    assert annals("users", "create-admin", *words).returncode == 0
    with another_api(annals_instance) as other:
        clients = [httpx.Client(base_url=endpoint, timeout=60) for endpoint in (annals_instance.endpoint, other)]
        headers = {"x-appwrite-project": "console"}
        assert clients[0].post("/account/sessions/email", json=ADMIN, headers=headers).status_code == 201
        clients[1].cookies.update(dict(clients[0].cookies))
        yield clients
        for client in clients:
            client.close()


def _create(console: httpx.Client) -> str:
    """Create the project, and return an API key."""
    made = console.post("/projects", json={"projectId": PROJECT, "name": PROJECT})
    assert made.status_code == 201, made.text
    scopes = ["project.read", "project.write"]
    key = console.post(f"/projects/{PROJECT}/keys", json={"name": "all", "scopes": scopes})
    assert key.status_code == 201, key.text
    return str(key.json()["secret"])


def _delete(console: httpx.Client) -> None:
    answer = console.delete(f"/projects/{PROJECT}")
    assert answer.status_code == 204, answer.text


def _set(console: httpx.Client, key: str, number: int) -> None:
    sent = {"variableId": f"v{number}", "key": f"K{number}", "value": f"kept {number}", "secret": False}
    answer = console.post(VARIABLE, json=sent, headers=_as(key))
    assert answer.status_code == 201, answer.text


def _value(console: httpx.Client, key: str, number: int) -> str:
    answer = console.get(f"{VARIABLE}/v{number}", headers=_as(key))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["value"])


def _as(key: str) -> dict[str, str]:
    return {"x-appwrite-project": PROJECT, "x-appwrite-key": key}


def test_variable_set_after_a_recreation_is_readable_in_both_processes(consoles: list[httpx.Client]) -> None:
    """Each process has just used the former data key, which it caches for seconds unless a notification drops it."""
    for _round in range(3):
        key = _create(consoles[0])
        for number, console in enumerate(consoles):
            _set(console, key, number)
        _delete(consoles[0])
        key = _create(consoles[0])
        for number, console in enumerate(consoles):
            _set(console, key, number)

        for console in consoles:
            assert [_value(console, key, number) for number in (0, 1)] == ["kept 0", "kept 1"]
        _delete(consoles[1])


def test_deleted_data_key_is_forgotten_by_the_other_process_at_once(
    annals_instance: AnnalsInstance, consoles: list[httpx.Client]
) -> None:
    key = _create(consoles[0])
    _set(consoles[0], key, 0)
    assert [_value(console, key, 0) for console in consoles] == ["kept 0", "kept 0"]  # both have cached the data key

    with psycopg.connect(annals_instance.database_url, autocommit=True) as conn:
        deleted = conn.execute("DELETE FROM data_keys WHERE project = %s", (PROJECT,))
        assert deleted.rowcount == 1

    assert [_value(console, key, 0) for console in consoles] == ["", ""]
    _delete(consoles[1])
    assert consoles[0].get(VARIABLE, headers=_as(key)).status_code == 404
    assert consoles[1].get(VARIABLE, headers=_as(key)).status_code == 404
