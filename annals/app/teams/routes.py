"""The operations on teams: keys and admins may do all of them, users what their membership allows."""

from typing import Any

from annals.app.edge import operation
from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Creation, Declared
from annals.app.identity.scopes import TEAMS_READ, TEAMS_WRITE
from annals.app.parameters import (
    UNIQUE,
    ArrayList,
    CustomId,
    Email,
    Emptiable,
    Parameters,
    Phone,
    TeamRole,
    Text,
    Uid,
    optional,
    required,
)
from annals.app.queries.page import list_parameters
from annals.app.teams import queries
from annals.app.wire import encode
from annals.domain.base import Key
from annals.domain.commands import projects
from annals.domain.errors import ArgumentInvalid, UserNotFound, UserUnauthorized
from annals.domain.team import OWNER, Membership, Team
from annals.domain.user import User
from annals.projections.identity_models import present_team
from annals.store.ids import generate_id

LIST = list_parameters(queries.LIST, has_search=True)
ONE = Parameters(teamId=required(Uid()))
ROLES = ArrayList(TeamRole(), 100)
CREATE = Parameters(teamId=required(CustomId()), name=required(Text(128)), roles=optional(ROLES, [OWNER]))
MEMBERS = list_parameters(queries.MEMBERSHIPS, has_search=True, teamId=required(Uid()))
MEMBER = ONE.but(membershipId=required(Uid()))
ADD = ONE.but(
    email=optional(Emptiable(Email()), ""),
    userId=optional(Text(36, 0), ""),
    phone=optional(Emptiable(Phone()), ""),
    roles=required(ROLES),
    membershipId=optional(CustomId(), UNIQUE),
)


class TeamController(operation.ResourceController):
    path = "/v1/teams"
    opt = Declared(needs_project=False)

    @operation.get(scopes=TEAMS_READ, parameters=LIST)
    async def list_teams(self, call: Call) -> Answer:
        values = call.values
        return raw_json_answer(
            await queries.read_teams(call, values["queries"], values["search"], counted=values["total"])
        )  # fmt: skip

    @operation.get("/{teamId:str}", scopes=TEAMS_READ, parameters=ONE)
    async def get(self, call: Call) -> Answer:
        return raw_json_answer(await queries.read_team(call, call.values["teamId"]))

    @operation.post(scopes=TEAMS_WRITE, parameters=CREATE, creates=Creation(get, "teamId"))
    async def create(self, call: Call) -> Answer:
        """Create a team. A user who creates it owns it. A team that a key creates is empty."""
        values, caller = call.values, await call.caller()
        team_id = _made(call, values["teamId"])
        owner = None
        if caller.user_id:
            roles = list(dict.fromkeys([*values["roles"], OWNER]))
            owner = Membership(membership_id=generate_id(), user_id=caller.user_id, roles=roles, confirmed=True)
        recorded = await call.services.log.run(
            projects.create_team,
            Team.absent(call.realm, team_id),
            meta=await call.meta(),
            project_id=call.realm,
            team_id=team_id,
            name=values["name"],
            owner=owner,
        )
        call.seen(recorded.position)
        row = recorded.rows["teams"][0]
        return raw_json_answer(encode(present_team(row, 0 if owner is None else 1)), status=201)

    @operation.put("/{teamId:str}", scopes=TEAMS_WRITE, parameters=ONE.but(name=required(Text(128))))
    async def rename(self, call: Call) -> Answer:
        team_id = call.values["teamId"]
        await _require_owner(call, team_id)
        await _run(call, Team.rename, Team.key(call.realm, team_id), name=call.values["name"])
        return raw_json_answer(await queries.read_team(call, team_id))

    @operation.delete("/{teamId:str}", scopes=TEAMS_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        team_id = call.values["teamId"]
        await _require_owner(call, team_id)
        await _run(call, Team.delete, Team.key(call.realm, team_id))
        return no_content()

    @operation.get("/{teamId:str}/memberships", scopes=TEAMS_READ, parameters=MEMBERS)
    async def list_memberships(self, call: Call) -> Answer:
        values = call.values
        body = await queries.read_memberships(
            call, values["teamId"], values["queries"], values["search"], counted=values["total"]
        )
        return raw_json_answer(body)

    @operation.post("/{teamId:str}/memberships", scopes=TEAMS_WRITE, parameters=ADD)
    async def add_member(self, call: Call) -> Answer:
        """Add a member. Members that keys and admins add are in at once. Owners invite users, who then join."""
        values, team_id = call.values, call.values["teamId"]
        await _require_owner(call, team_id)
        user_id = await _named_user(call)
        membership_id = _made(call, values["membershipId"])
        member = Membership(
            membership_id=membership_id,
            user_id=user_id,
            roles=values["roles"],
            confirmed=(await call.caller()).privileged,
        )
        keys = Team.key(call.realm, team_id), User.key(call.realm, user_id)
        await _run(call, projects.add_member, *keys, membership=member)
        by_email = not values["userId"] and bool(values["email"])
        return raw_json_answer(
            await queries.read_membership(call, team_id, membership_id, by_email=by_email), status=201
        )

    @operation.get("/{teamId:str}/memberships/{membershipId:str}", scopes=TEAMS_READ, parameters=MEMBER)
    async def get_membership(self, call: Call) -> Answer:
        body = await queries.read_membership(call, call.values["teamId"], call.values["membershipId"])
        return raw_json_answer(body)

    @operation.patch(
        "/{teamId:str}/memberships/{membershipId:str}", scopes=TEAMS_WRITE, parameters=MEMBER.but(roles=required(ROLES))
    )
    async def change_member(self, call: Call) -> Answer:
        team_id, membership_id = call.values["teamId"], call.values["membershipId"]
        await _require_owner(call, team_id)
        key = Team.key(call.realm, team_id)
        await _run(call, Team.change_member, key, membership_id=membership_id, roles=call.values["roles"])
        return raw_json_answer(await queries.read_membership(call, team_id, membership_id))

    @operation.patch("/{teamId:str}/memberships/{membershipId:str}/status", scopes=TEAMS_WRITE, parameters=MEMBER)
    async def confirm_member(self, call: Call) -> Answer:
        """Who was invited joins, as whom they are signed in: no message with a secret goes out."""
        team_id, membership_id = call.values["teamId"], call.values["membershipId"]
        row = await queries.find_membership(call, team_id, membership_id)
        if row["user_id"] != (await call.caller()).user_id:
            raise UserUnauthorized("An invitation is accepted by the user who was invited.")
        await _run(call, Team.confirm_member, Team.key(call.realm, team_id), membership_id=membership_id)
        row = await queries.find_membership(call, team_id, membership_id)
        return raw_json_answer(queries.present(row, await call.caller()))

    @operation.delete("/{teamId:str}/memberships/{membershipId:str}", scopes=TEAMS_WRITE, parameters=MEMBER)
    async def remove_member(self, call: Call) -> Answer:
        """End a membership. Owners remove others; members and invited users leave."""
        team_id, membership_id = call.values["teamId"], call.values["membershipId"]
        row = await queries.find_membership(call, team_id, membership_id)
        if row["user_id"] != (await call.caller()).user_id:
            await _require_owner(call, team_id)
        await _run(call, Team.remove_member, Team.key(call.realm, team_id), membership_id=membership_id)
        return no_content()


async def _require_owner(call: Call, team_id: str) -> None:
    """Require that the caller owns the team. Raises TeamNotFound, UserUnauthorized."""
    caller = await call.caller()
    await queries.find_team(call, team_id)
    if not (caller.privileged or queries.is_owner(caller, team_id)):
        raise UserUnauthorized


async def _named_user(call: Call) -> str:
    """Raises ArgumentInvalid, UserNotFound."""
    values = call.values
    named = {"user": values["userId"], "email": values["email"], "phone": values["phone"]}
    if not any(named.values()):
        raise ArgumentInvalid("Send at least one of userId, email and phone.")
    row = await call.services.database.row(queries.QUERIES["user_by"], {"project": call.realm, **named})
    if row is None:
        raise UserNotFound
    return str(row["user_id"])


async def _run(call: Call, command: Any, *keys: Key, **arguments: Any) -> None:
    recorded = await call.services.log.run(command, *keys, meta=await call.meta(), **arguments)
    call.seen(recorded.position)


def _made(call: Call, identifier: str) -> str:
    return call.new_id() if identifier == UNIQUE else identifier
