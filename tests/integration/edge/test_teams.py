"""Teams and their members (around.md 1)."""

import pytest

from tests.integration.edge.client import Client
from tests.integration.edge.given import ids, query, signed_in, user


@pytest.fixture
async def ada(plain: Client) -> Client:
    await user(plain, "ada", email="ada@x.test", name="Ada")
    return await signed_in(plain, "ada")


@pytest.fixture
async def bob(plain: Client) -> Client:
    await user(plain, "bob", email="bob@x.test", name="Bob")
    return await signed_in(plain, "bob")


async def test_team_created_by_a_key_is_empty_and_its_members_join_at_once(plain: Client, ada: Client) -> None:
    made = (await plain.post("/v1/teams", teamId="t", name="Team")).json
    assert (made["$id"], made["name"], made["total"], made["prefs"]) == ("t", "Team", 0, {})
    assert (await plain.post("/v1/teams", teamId="t", name="T")).error == (409, "team_already_exists")

    added = await plain.post("/v1/teams/t/memberships", userId="ada", roles=["dev"])
    assert added.status == 201
    member = added.json
    assert (member["userId"], member["userName"], member["userEmail"]) == ("ada", "Ada", "ada@x.test")
    assert (member["teamId"], member["teamName"], member["confirm"], member["roles"]) == ("t", "Team", True, ["dev"])
    assert member["joined"] == member["invited"] == member["$createdAt"]
    again = await plain.post("/v1/teams/t/memberships", email="ADA@x.test", roles=["dev"])
    assert again.error == (409, "team_invite_already_exists")
    assert (await plain.get("/v1/teams/t")).json["total"] == 1
    assert (await ada.get("/v1/teams")).json["total"] == 1
    assert (await ada.get(f"/v1/teams/t/memberships/{member['$id']}")).json == member
    changed = await plain.patch(f"/v1/teams/t/memberships/{member['$id']}", roles=["ops", "dev"])
    assert changed.json["roles"] == ["ops", "dev"]
    assert (await plain.delete(f"/v1/teams/t/memberships/{member['$id']}")).status == 204
    assert (await ada.get("/v1/teams/t")).error == (404, "team_not_found")


async def test_creator_of_a_team_owns_it_and_invites_others(plain: Client, ada: Client, bob: Client) -> None:
    made = (await ada.post("/v1/teams", teamId="unique()", name="Ours", roles=["dev"])).json
    path = f"/v1/teams/{made['$id']}"
    assert made["total"] == 1
    assert (await ada.get(f"{path}/memberships")).json["memberships"][0]["roles"] == ["dev", "owner"]
    assert (await bob.get(path)).error == (404, "team_not_found")

    invited = (await ada.post(f"{path}/memberships", email="bob@x.test", roles=["dev"], url="https://x.test")).json
    assert (invited["confirm"], invited["joined"]) == (False, "")
    assert (await ada.get(path)).json["total"] == 1
    assert (await bob.get(path)).error == (404, "team_not_found")
    accept = f"{path}/memberships/{invited['$id']}/status"
    assert (await ada.patch(accept, userId="bob", secret="x")).error == (401, "user_unauthorized")
    joined = (await bob.patch(accept, userId="bob", secret="x")).json
    assert joined["confirm"] is True
    assert joined["joined"] != ""
    assert (await bob.patch(accept)).error == (409, "membership_already_confirmed")
    assert (await bob.get(path)).json["total"] == 2

    assert (await bob.delete(path)).error == (401, "user_unauthorized")
    assert (await bob.put(path, name="Mine")).error == (401, "user_unauthorized")
    assert (await bob.patch(f"{path}/memberships/{invited['$id']}", roles=["owner"])).error == (
        401,
        "user_unauthorized",
    )
    assert (await ada.put(path, name="Still ours")).json["name"] == "Still ours"
    assert (await bob.delete(f"{path}/memberships/{invited['$id']}")).status == 204
    assert (await ada.delete(path)).status == 204
    assert (await plain.get("/v1/teams")).json["total"] == 0


async def test_invitation_by_user_id_shows_neither_name_nor_email(plain: Client, ada: Client, bob: Client) -> None:
    await ada.post("/v1/teams", teamId="t", name="Team")
    path = "/v1/teams/t/memberships"

    invited = (await ada.post(path, userId="bob", email="guess@x.test", roles=["dev"])).json
    one = f"{path}/{invited['$id']}"
    for shown in (
        invited,
        (await ada.get(one)).json,
        (await ada.get(path, [query("equal", "userId", "bob")])).json["memberships"][0],
        (await ada.patch(one, roles=["ops"])).json,
    ):
        assert (shown["userId"], shown["userName"], shown["userEmail"]) == ("bob", "", "")
    assert (await plain.get(one)).json["userEmail"] == "bob@x.test"

    await bob.patch(f"{one}/status")
    assert (await ada.get(one)).json["userEmail"] == "bob@x.test"


async def test_invitation_by_phone_does_not_show_the_email(plain: Client, ada: Client) -> None:
    await user(plain, "eve", email="eve@x.test", phone="+12025550123")
    await ada.post("/v1/teams", teamId="t", name="Team")

    invited = await ada.post("/v1/teams/t/memberships", phone="+12025550123", roles=[])

    assert (invited.json["userId"], invited.json["userEmail"]) == ("eve", "")


async def test_invitation_by_email_shows_the_email(plain: Client, ada: Client, bob: Client) -> None:
    await ada.post("/v1/teams", teamId="t", name="Team")

    invited = await ada.post("/v1/teams/t/memberships", email="Bob@x.test", roles=[])

    assert (invited.json["userName"], invited.json["userEmail"]) == ("", "bob@x.test")


async def test_memberships_are_hidden_from_users_outside_the_team(plain: Client, ada: Client, bob: Client) -> None:
    await plain.post("/v1/teams", teamId="t", name="T")
    member = (await plain.post("/v1/teams/t/memberships", userId="ada", roles=[])).json["$id"]
    answers = []
    for path in (f"/v1/teams/t/memberships/{member}", "/v1/teams/t/memberships/no", "/v1/teams/no/memberships/no"):
        answers += [await bob.patch(f"{path}/status"), await bob.delete(path)]

    assert {(reply.error, reply.message) for reply in answers} == {((404, "membership_not_found"), answers[0].message)}
    assert (await ada.get(f"/v1/teams/t/memberships/{member}")).status == 200


async def test_teams_and_members_are_listed_filtered_and_searched(plain: Client, ada: Client, bob: Client) -> None:
    for number in range(3):
        await plain.post("/v1/teams", teamId=f"t{number}", name=f"Name {number}")
    await plain.post("/v1/teams/t1/memberships", userId="ada", roles=["dev"])
    await plain.post("/v1/teams/t1/memberships", userId="bob", roles=[])

    assert ids(await plain.get("/v1/teams"), "teams") == ["t0", "t1", "t2"]
    assert ids(await plain.get("/v1/teams", [query("greaterThan", "total", 0)]), "teams") == ["t1"]
    assert ids(await plain.get("/v1/teams", search="2"), "teams") == ["t2"]
    assert ids(await ada.get("/v1/teams"), "teams") == ["t1"]
    assert (await ada.get("/v1/teams", [query("cursorAfter", None, "t0")])).error == (400, "general_cursor_not_found")
    members = await plain.get("/v1/teams/t1/memberships", [query("equal", "userId", "bob")])
    assert [member["userId"] for member in members.json["memberships"]] == ["bob"]
    assert (await plain.get("/v1/teams/nope/memberships")).error == (404, "team_not_found")


async def test_members_must_be_existing_users_with_valid_roles(plain: Client) -> None:
    await plain.post("/v1/teams", teamId="t", name="T")
    path = "/v1/teams/t/memberships"

    assert (await plain.post(path, userId="nobody", roles=[])).error == (404, "user_not_found")
    assert (await plain.post(path, roles=[])).error == (400, "general_argument_invalid")
    assert (await plain.post(path, userId="a", roles=["with space"])).error == (400, "general_argument_invalid")
    assert (await plain.post("/v1/teams/nope/memberships", userId="a", roles=[])).error == (404, "team_not_found")
    assert (await plain.delete(f"{path}/nope")).error == (404, "membership_not_found")
    assert (await plain.patch(f"{path}/nope", roles=[])).error == (404, "membership_not_found")
