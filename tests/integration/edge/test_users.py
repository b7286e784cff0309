"""Users that keys create and change (around.md 1)."""

import pytest

from annals.app.services import Services
from tests.integration.edge.client import Client
from tests.integration.edge.given import ids, query, signed_in, user


async def test_user_is_made_and_read(plain: Client) -> None:
    fields = {"email": "Ada@Example.test", "phone": "+491234", "password": "password8", "name": "Ada"}
    made = await user(plain, "ada", **fields)

    assert made["$id"] == "ada"
    assert (made["email"], made["phone"], made["name"]) == ("ada@example.test", "+491234", "Ada")
    assert (made["status"], made["emailVerification"], made["phoneVerification"], made["mfa"]) == (True, *[False] * 3)
    assert (made["password"], made["hash"], made["hashOptions"]["type"]) == ("", "argon2", "argon2")
    assert made["passwordUpdate"] == made["registration"] == made["$createdAt"]
    assert (made["labels"], made["prefs"], made["targets"]) == ([], {}, [])
    assert (await plain.get("/v1/users/ada")).json == made
    assert (await plain.get("/v1/users/nobody")).error == (404, "user_not_found")


async def test_no_password_or_secret_is_in_the_log(plain: Client, services: Services) -> None:
    await user(plain, "ada", email="ada@x.test", password="a very secret word")
    session = (await plain.post("/v1/users/ada/sessions")).json["secret"]

    rows = await services.database.rows("SELECT state FROM events WHERE originator_id = 'user:p1:ada'")
    log = b"".join(bytes(row["state"]) for row in rows)
    assert b"very secret" not in log
    assert b"argon2" not in log
    assert session.encode() not in log


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [
        ({"userId": "a"}, {"userId": "a"}),
        ({"userId": "a", "email": "a@x.test"}, {"userId": "b", "email": "A@x.test"}),
        ({"userId": "a", "phone": "+1"}, {"userId": "b", "phone": "+1"}),
    ],
)
async def test_ids_emails_and_phones_are_unique_in_a_project(
    plain: Client, taken: dict[str, str], wanted: dict[str, str]
) -> None:
    other = plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")
    assert (await plain.json("POST", "/v1/users", taken)).status == 201

    assert (await plain.json("POST", "/v1/users", wanted)).error == (409, "user_already_exists")
    assert (await other.json("POST", "/v1/users", wanted)).status == 201


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "no-at"}, {"email": "a@b"}, {"email": f"{'a' * 65}@x.test"}, {"phone": "123"}, {"phone": "+0123"},
        {"phone": "+1234567890123456"}, {"password": "short"}, {"password": "a" * 257}, {"name": "a" * 129},
        {"userId": "_x"}, {"email": 5},
    ],
)  # fmt: skip
async def test_invalid_email_phone_or_password_is_refused(plain: Client, fields: dict[str, object]) -> None:
    reply = await plain.json("POST", "/v1/users", {"userId": "ok", **fields})

    assert reply.error == (400, "general_argument_invalid")


async def test_every_attribute_changes_by_itself(plain: Client) -> None:
    await user(plain, "ada", email="ada@x.test")
    path = "/v1/users/ada"

    assert (await plain.patch(f"{path}/verification", emailVerification=True)).json["emailVerification"] is True
    assert (await plain.patch(f"{path}/name", name="A. L.")).json["name"] == "A. L."
    changed = (await plain.patch(f"{path}/email", email="new@x.test")).json
    assert (changed["email"], changed["emailVerification"]) == ("new@x.test", False)
    assert (await plain.patch(f"{path}/phone", number="+123")).json["phone"] == "+123"
    assert (await plain.patch(f"{path}/verification/phone", phoneVerification=True)).json["phoneVerification"] is True
    assert (await plain.patch(f"{path}/phone", number="")).json["phoneVerification"] is False
    assert (await plain.put(f"{path}/labels", labels=["vip", "vip", "Beta2"])).json["labels"] == ["vip", "Beta2"]
    assert (await plain.patch(f"{path}/status", status=False)).json["status"] is False
    assert (await plain.patch(f"{path}/password", password="password9")).json["hash"] == "argon2"
    assert (await plain.patch(f"{path}/name", name="A. L.")).json["name"] == "A. L."
    for field, body in (
        ("name", {"name": "x"}),
        ("password", {"password": "12345678"}),
        ("status", {"status": True}),
    ):
        assert (await plain.json("PATCH", f"/v1/users/nobody/{field}", body)).error == (404, "user_not_found")
    assert (await plain.put(f"{path}/labels", labels=["with space"])).error == (400, "general_argument_invalid")
    assert (await plain.patch(f"{path}/status", status="false")).error == (400, "general_argument_invalid")


async def test_users_are_listed_searched_and_paged(plain: Client) -> None:
    for number in range(3):
        await user(plain, f"u{number}", email=f"n{number}@x.test", name=f"Name {number}")
    await plain.patch("/v1/users/u1/status", status=False)

    listed = await plain.get("/v1/users")
    assert (ids(listed, "users"), listed.json["total"]) == (["u0", "u1", "u2"], 3)
    assert ids(await plain.get("/v1/users", [query("equal", "status", False)]), "users") == ["u1"]
    assert ids(await plain.get("/v1/users", [query("equal", "email", "n2@x.test")]), "users") == ["u2"]
    assert ids(await plain.get("/v1/users", [query("cursorAfter", None, "u0"), query("limit", None, 1)]), "users") == [
        "u1"
    ]
    assert ids(await plain.get("/v1/users", search="n2"), "users") == ["u2"]
    other = plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all")
    assert (await other.get("/v1/users")).json == {"total": 0, "users": []}


async def test_deleting_a_user_deletes_sessions_and_memberships(plain: Client) -> None:
    await user(plain, "ada", email="ada@x.test")
    ada = await signed_in(plain, "ada")
    await plain.post("/v1/teams", teamId="t", name="T")
    await plain.post("/v1/teams/t/memberships", userId="ada", roles=["dev"])

    assert (await plain.delete("/v1/users/ada")).status == 204

    assert (await plain.get("/v1/users/ada")).error == (404, "user_not_found")
    assert (await ada.get("/v1/account")).error == (401, "general_unauthorized_scope")
    assert (await plain.get("/v1/teams/t/memberships")).json["total"] == 0
    await user(plain, "ada", email="ada@x.test")
    assert (await ada.get("/v1/account")).error == (401, "general_unauthorized_scope")
    assert (await plain.post("/v1/teams/t/memberships", userId="ada", roles=[])).status == 201


async def test_sessions_are_opened_listed_and_closed_by_keys(plain: Client) -> None:
    await user(plain, "ada")
    first = (await plain.post("/v1/users/ada/sessions")).json
    second = (await plain.post("/v1/users/ada/sessions")).json

    listed = (await plain.get("/v1/users/ada/sessions")).json
    assert [session["$id"] for session in listed["sessions"]] == [first["$id"], second["$id"]]
    assert first["provider"] == "server"
    assert first["secret"] != ""
    assert [session["secret"] for session in listed["sessions"]] == ["", ""]
    assert (await plain.delete(f"/v1/users/ada/sessions/{first['$id']}")).status == 204
    assert (await plain.delete(f"/v1/users/ada/sessions/{first['$id']}")).error == (404, "user_session_not_found")
    assert (await plain.delete("/v1/users/ada/sessions")).status == 204
    assert (await plain.get("/v1/users/ada/sessions")).json == {"total": 0, "sessions": []}


async def test_user_has_ten_sessions_at_most(plain: Client) -> None:
    await user(plain, "ada")
    clients = [await signed_in(plain, "ada") for _ in range(11)]

    assert (await clients[0].get("/v1/account")).status == 401
    assert (await clients[1].get("/v1/account")).status == 200
    assert (await plain.get("/v1/users/ada/sessions")).json["total"] == 10
